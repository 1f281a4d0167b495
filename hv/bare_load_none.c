/* Stands in for bare_load.c in a binary built without I686_GUEST=1: no image is a bare kernel. */
#include "hv/bare_load.h"

int bare_choose(const struct options *o, const struct file *image, bool *bare, enum bare_format *f,
                struct err *e)
{
    (void)image;
    (void)f;
    if (o->format >= FORMAT_BARE || o->standalone) {
        err_set(e, STATUS_UNSUPPORTED, "%s: this binary runs no bare kernels", o->image);
        return err_hint(e, "use a vmm built with I686_GUEST=1");
    }
    *bare = false;
    return 0;
}

int bare_inspect(const struct options *o, const struct load *l, struct text *out, struct err *e)
{
    (void)l;
    (void)out;
    return err_set(e, STATUS_HOST, "bug: %s is no bare kernel", o->image);
}

int bare_run_image(const struct options *o, const struct load *l, struct outcome *out, struct err *e)
{
    (void)l;
    (void)out;
    return err_set(e, STATUS_HOST, "bug: %s is no bare kernel", o->image);
}
