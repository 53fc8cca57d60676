/* The images of a host: their names without case are numbered by the volumes' table of names, whose places a host cannot
 * foresee; a number is the place in the list, after the one for processes whose image is not known. */
#include "noise.h"
#include "mem.h"
#include "tallytab.h"

#include <stdlib.h>

struct collecting {
    struct noise *noise;
    struct tallytab names;
    struct buf lower;
    uint64_t since;
};

/* The image's entry, new or not; NULL: no room for its name. */
static struct noise_image *image_of(struct collecting *c, struct slice image) {
    struct noise *n = c->noise;
    buf_clear(&c->lower);
    for (size_t i = 0; i < image.len; i++) buf_byte(&c->lower, (uint8_t)slice_lower(image.p[i]));
    uint32_t number = tallytab_name(&c->names, buf_slice(&c->lower));
    size_t at = number == TALLY_NAME_NONE ? 0 : number - TALLY_NAMES + 1;
    if (at < n->n) return &n->images[at];
    struct slice copy = arena_copy(&n->text, image);
    if (!copy.p) return NULL;
    mem_grow((void **)&n->images, n->n, &n->cap, sizeof *n->images);
    n->images[n->n++] = (struct noise_image){.image = copy};
    return &n->images[at];
}

static enum status on_proc(void *ctx, const struct proc *p) {
    struct collecting *c = ctx;
    if (p->last_seen < c->since) return ST_OK;
    struct noise_image *m = image_of(c, p->image);
    if (!m) return ST_TOOBIG;
    m->processes++;
    for (size_t i = 0; i <= PROC_MAX_EVENT_ID; i++) {
        m->counts[i] += p->counts[i];
        m->events += p->counts[i];
    }
    return ST_OK;
}

static int by_events(const void *pa, const void *pb) {
    const struct noise_image *a = pa, *b = pb;
    return a->events != b->events ? (a->events < b->events) - (a->events > b->events) : slice_cmp(a->image, b->image);
}

enum status noise_images(struct db *db, uint32_t host, uint64_t since, struct noise *ret, struct error *err) {
    struct noise n = {0};
    struct collecting c = {.noise = &n, .since = since};
    arena_init(&n.text, NOISE_TEXT_CAP);
    tallytab_init(&c.names);
    (void)image_of(&c, SLICE_LIT(""));
    enum status st = procs_each_since(db, host, since, on_proc, &c, err);
    if (st == ST_TOOBIG) error_set(err, st, "the names of this host's programs are over the limit of 64 MiB");
    tallytab_deinit(&c.names);
    buf_free(&c.lower);
    if (st) {
        noise_deinit(&n);
        return st;
    }
    if (!n.images[0].processes) n.images[0] = n.images[--n.n];
    if (n.n) qsort(n.images, n.n, sizeof *n.images, by_events);
    *ret = n;
    return ST_OK;
}

void noise_deinit(struct noise *n) {
    mem_free(n->images);
    arena_deinit(&n->text);
    *n = (struct noise){0};
}
