/* The points at which a bare guest can be saved. */
#ifndef HV_BARE_POINT_H
#define HV_BARE_POINT_H

/* Where in its run a guest is to be saved: the run ends there with REASON_EXPECTED and bare->at_point. */
enum bare_point {
    POINT_NONE,
    POINT_TEXT,   /* what console->expect looks for was said */
    POINT_PORT,   /* by its own command, BUS_SNAPSHOT */
    POINT_SIGNAL, /* SIGUSR1 */
    POINT_HALT,   /* asleep, and for a while, or for ever */
};

#endif
