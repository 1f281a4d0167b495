/* Reading the files a command line names. See load.h. */
#include "hv/load.h"

#include <stddef.h>

#include "boot/snapformat.h"
#include "hv/bare_load.h"
#include "mem/bytes.h"

#define IMAGE_LEN_MAX ((uint64_t)16 << 30)

int load_image(const struct options *o, struct load *out, struct err *e)
{
    struct load l = {.bare = false};

    if (file_read(o->image, IMAGE_LEN_MAX, &l.image, e) != 0)
        return -1;
    if (l.image.len >= SNAP_CHUNK_LEN && load_le64(l.image.map.base) == SNAP_MAGIC) {
        file_free(&l.image);
        err_image(e, "%s: a snapshot, not an image", o->image);
        return err_hint(e, "vmm restore goes on with it");
    }
    l.bare = bare_choose(o, &l.image, &l.format);
    if (options_check(o, l.bare, l.bare ? bare_format_name(l.format) : "one of the guest ABI", e) != 0) {
        load_free(&l);
        return -1;
    }
    *out = l;
    return 0;
}

void load_free(struct load *l)
{
    file_free(&l->image);
}

/* What the options say about an image; the caller frees *init_data. */
static int read_options(const struct options *o, struct image_options *opt, struct file *init_data,
                        struct err *e)
{
    *init_data = (struct file){.len = 0};
    if (o->init_data != NULL && file_read(o->init_data, IMAGE_LEN_MAX, init_data, e) != 0)
        return -1;
    *opt = (struct image_options){
        .sizes = o->sizes,
        .paging = o->paging,
        .init_data = init_data->map.base,
        .init_data_len = init_data->len,
    };
    opt->sizes.apic = o->irqchip == IRQCHIP_ON;
    return 0;
}

int load_snapshot(const struct options *o, const struct load *l, struct snapshot *out, struct err *e)
{
    struct image_options opt;
    struct file init_data;
    int result;

    if (read_options(o, &opt, &init_data, e) != 0)
        return -1;
    result = image_build(l->image.map.base, l->image.len, o->image, &opt, out, e);
    file_free(&init_data);
    return result;
}

int load_plan(const struct options *o, const struct load *l, struct elf_image *elf,
              const struct guest_kind **kind, struct layout *plan, struct err *e)
{
    struct image_options opt;
    struct file init_data;
    int result;

    if (read_options(o, &opt, &init_data, e) != 0)
        return -1;
    result = image_plan(l->image.map.base, l->image.len, o->image, &opt, elf, kind, plan, e);
    file_free(&init_data);
    return result;
}
