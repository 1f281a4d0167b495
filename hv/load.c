/* Reading the files a command line names. See load.h. */
#include "hv/load.h"

#include <stddef.h>

#include "hv/file.h"

#define IMAGE_LEN_MAX ((uint64_t)16 << 30)

struct inputs {
    struct file image, init_data;
    struct image_options opt;
};

static void free_inputs(struct inputs *in)
{
    file_free(&in->image);
    file_free(&in->init_data);
}

static int read_inputs(const struct options *o, struct inputs *out, struct err *e)
{
    struct inputs in = {.opt = {.sizes = o->sizes, .paging = o->paging}};

    in.opt.sizes.apic = o->irqchip == IRQCHIP_ON;
    if (file_read(o->image, IMAGE_LEN_MAX, &in.image, e) != 0)
        return -1;
    if (o->init_data != NULL && file_read(o->init_data, IMAGE_LEN_MAX, &in.init_data, e) != 0) {
        free_inputs(&in);
        return -1;
    }
    in.opt.init_data = in.init_data.map.base;
    in.opt.init_data_len = in.init_data.len;
    *out = in;
    return 0;
}

int load_snapshot(const struct options *o, struct snapshot *out, struct err *e)
{
    struct inputs in;
    int result;

    if (read_inputs(o, &in, e) != 0)
        return -1;
    result = image_build(in.image.map.base, in.image.len, o->image, &in.opt, out, e);
    free_inputs(&in);
    return result;
}

int load_plan(const struct options *o, struct elf_image *elf, const struct guest_kind **kind,
              struct layout *plan, struct err *e)
{
    struct inputs in;
    int result;

    if (read_inputs(o, &in, e) != 0)
        return -1;
    result = image_plan(in.image.map.base, in.image.len, o->image, &in.opt, elf, kind, plan, e);
    free_inputs(&in);
    return result;
}
