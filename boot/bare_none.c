/* Stands in for bare.c and the loaders in a binary built without I686_GUEST=1: no bare kernels. */
#include "boot/bare.h"

const bool bare_is_built = false;

int bare_load(enum bare_format f, const struct bare_file *image, const struct bare_options *o, uint8_t *ram,
              struct bare_start *out, struct err *e)
{
    (void)o;
    (void)ram;
    (void)out;
    err_image(e, "%s: this vmm has no bare kernels (%s)", image->name, bare_format_name(f));
    return err_hint(e, "use a vmm built with I686_GUEST=1");
}
