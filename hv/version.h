/* The release, as --version prints it and as snapshot files carry it. */
#ifndef HV_VERSION_H
#define HV_VERSION_H

#define VMM_VERSION "0.1"

#endif
