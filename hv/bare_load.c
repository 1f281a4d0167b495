/* From a command line to a bare kernel that runs. See bare_load.h. */
#include "hv/bare_load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "boot/mptable.h"
#include "hv/bare.h"

#define FILE_LEN_MAX ((uint64_t)BARE_RAM_MAX)

bool bare_choose(const struct options *o, const struct file *image, enum bare_format *f)
{
    if (o->format >= FORMAT_BARE) {
        *f = (enum bare_format)(o->format - FORMAT_BARE);
        return true;
    }
    if (o->format == FORMAT_ABI)
        return false;
    if (bare_detect(image->map.base, image->len, f))
        return true;
    *f = BARE_MICROVM;
    return o->standalone;
}

/* --- the files beside the image ------------------------------------------------------------------- */

struct extras {
    struct file initrd, module[BARE_MODULES_MAX];
    char *path[BARE_MODULES_MAX]; /* of a module, cut out of FILE:ARGS */
    struct bare_file initrd_view, view[BARE_MODULES_MAX];
    unsigned modules_n;
};

static void free_extras(struct extras *x)
{
    unsigned i;

    file_free(&x->initrd);
    for (i = 0; i < x->modules_n; i++) {
        file_free(&x->module[i]);
        free(x->path[i]);
    }
    free(x);
}

static int read_module(struct extras *x, const char *word, struct err *e)
{
    unsigned i = x->modules_n;
    const char *colon = strchr(word, ':');

    x->path[i] = colon != NULL ? strndup(word, (size_t)(colon - word)) : strdup(word);
    if (x->path[i] == NULL)
        return err_memory(e, "--module");
    x->modules_n++;
    if (file_read(x->path[i], FILE_LEN_MAX, &x->module[i], e) != 0)
        return -1;
    x->view[i] = (struct bare_file){
        .name = x->path[i],
        .args = colon != NULL ? colon + 1 : "",
        .bytes = x->module[i].map.base,
        .len = x->module[i].len,
    };
    return 0;
}

static int read_extras(const struct options *o, struct extras *x, struct err *e)
{
    unsigned i;

    if (o->initrd != NULL) {
        if (file_read(o->initrd, FILE_LEN_MAX, &x->initrd, e) != 0)
            return -1;
        x->initrd_view = (struct bare_file){
            .name = o->initrd, .args = "", .bytes = x->initrd.map.base, .len = x->initrd.len};
    }
    for (i = 0; i < o->modules_n; i++)
        if (read_module(x, o->modules[i], e) != 0)
            return -1;
    return 0;
}

/* --- loading -------------------------------------------------------------------------------------- */

static int place(const struct options *o, const struct load *l, const struct extras *x,
                 struct bare_state *out, struct err *e)
{
    const struct bare_file image = {
        .name = o->image, .args = "", .bytes = l->image.map.base, .len = l->image.len};
    const struct bare_options bo = {
        .ram_len = o->memory_len,
        .append = o->append != NULL ? o->append : "",
        .modules = x->view,
        .modules_n = x->modules_n,
        .initrd = o->initrd != NULL ? &x->initrd_view : NULL,
    };
    struct bare_state s = {.ram = PRISTINE_CLOSED};
    struct region fill;

    if (pristine_open(&s.ram, o->memory_len, &fill, e) != 0)
        return -1;
    if (bare_load(l->format, &image, &bo, fill.base, &s.start, e) != 0) {
        region_unmap(&fill);
        pristine_close(&s.ram);
        return -1;
    }
    if (o->irqchip != IRQCHIP_AUTO)
        s.start.irqchip = o->irqchip == IRQCHIP_ON;
    /* A microvm image knows its machine, and may lie where the table would be. */
    if (s.start.irqchip && l->format != BARE_MICROVM)
        mptable_write(fill.base);
    if (pristine_seal(&s.ram, &fill, e) != 0) {
        pristine_close(&s.ram);
        return -1;
    }
    *out = s;
    return 0;
}

int bare_load_state(const struct options *o, const struct load *l, struct bare_state *out, struct err *e)
{
    struct extras *x = calloc(1, sizeof(*x));
    int result = -1;

    if (x == NULL)
        return err_memory(e, "modules");
    if (read_extras(o, x, e) == 0)
        result = place(o, l, x, out, e);
    free_extras(x);
    return result;
}

/* --- inspect ------------------------------------------------------------------------------------- */

static void describe(const struct options *o, const struct bare_state *s, struct text *out)
{
    const struct cpu_regs *r = &s->start.regs;
    uint64_t start, end = 0;

    text_add(out, "%s: %s, entry 0x%08" PRIx64 "%s, %" PRIu64 "K of RAM, interrupt controllers %s\n",
             o->image, bare_format_name(s->start.format), s->start.sregs.cs.base + r->rip,
             (s->start.sregs.cr0 & 1) != 0 ? "" : " in real mode", s->ram.len >> 10,
             s->start.irqchip ? "on" : "off");
    while (pristine_next(&s->ram, end, &start, &end))
        text_add(out, "load      %08" PRIx64 "-%08" PRIx64 "  %9" PRIu64 "K\n", start, end - 1,
                 (end - start) >> 10);
    text_add(out, "registers eax %08" PRIx64 " ebx %08" PRIx64 " esi %08" PRIx64 " esp %08" PRIx64 "\n",
             r->rax, r->rbx, r->rsi, r->rsp);
}

static void describe_json(const struct options *o, const struct bare_state *s, struct text *out)
{
    uint64_t start, end = 0;
    bool first = true;

    text_add(out, "{\"version\":1,\"image\":");
    text_add_json(out, o->image, strlen(o->image));
    text_add(out,
             ",\"kind\":\"%s\",\"entry\":\"0x%" PRIx64 "\",\"memory\":%" PRIu64
             ",\"irqchip\":%s,\"ranges\":[",
             bare_format_name(s->start.format), s->start.sregs.cs.base + s->start.regs.rip, s->ram.len,
             s->start.irqchip ? "true" : "false");
    for (; pristine_next(&s->ram, end, &start, &end); first = false)
        text_add(out, "%s{\"name\":\"load\",\"gpa\":\"0x%" PRIx64 "\",\"len\":%" PRIu64 "}", first ? "" : ",",
                 start, end - start);
    text_add(out, "]}\n");
}

int bare_inspect(const struct options *o, const struct load *l, struct text *out, struct err *e)
{
    struct bare_state s = {.ram = PRISTINE_CLOSED};

    if (bare_load_state(o, l, &s, e) != 0)
        return -1;
    if (o->json)
        describe_json(o, &s, out);
    else
        describe(o, &s, out);
    pristine_close(&s.ram);
    return 0;
}
