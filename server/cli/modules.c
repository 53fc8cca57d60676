/* Reads folders of modules. Names are sorted, so that a folder's order on disk does not matter. */
#include "modules.h"
#include "file.h"
#include "mem.h"
#include "merge.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TEMPLATE "templates/sysmon_template.xml"

struct names { /* paths below the folder, owned */
    char **list;
    size_t n, cap;
};

struct set {
    const char *folder;
    struct merge_module *modules; /* name and bytes owned through names and bytes */
    struct buf *bytes;
    size_t n;
};

bool modules_is_folder(const char *path) {
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

static char *join(const char *a, const char *b) {
    struct buf path = {0};
    buf_printf(&path, "%s%s%s", a, *a && a[strlen(a) - 1] != '/' ? "/" : "", b);
    char *text = mem_strdup(buf_cstr(&path));
    buf_free(&path);
    return text;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The entries of folder/below, sorted, each as below/name; hidden ones left out. */
static enum status list_folder(const char *folder, const char *below, struct names *out, struct error *err) {
    char *path = *below ? join(folder, below) : mem_strdup(folder);
    DIR *d = opendir(path);
    enum status st = d ? ST_OK : error_set(err, status_from_errno(errno), "cannot open %s: %s", path, strerror(errno));
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        mem_grow((void **)&out->list, out->n, &out->cap, sizeof *out->list);
        out->list[out->n++] = *below ? join(below, e->d_name) : mem_strdup(e->d_name);
    }
    if (d) closedir(d);
    mem_free(path);
    if (out->n) qsort(out->list, out->n, sizeof *out->list, by_text);
    return st;
}

static void names_free(struct names *n) {
    for (size_t i = 0; i < n->n; i++) mem_free(n->list[i]);
    mem_free(n->list);
    *n = (struct names){0};
}

static bool is_module_file(const char *name) {
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".xml") == 0;
}

static bool is_module_folder(const char *folder, const char *name) {
    if (name[0] < '0' || name[0] > '9') return false;
    char *path = join(folder, name);
    bool is = modules_is_folder(path);
    mem_free(path);
    return is;
}

static void keep_files(struct names *from, struct names *out) {
    for (size_t i = 0; i < from->n; i++) {
        if (!is_module_file(from->list[i])) continue;
        mem_grow((void **)&out->list, out->n, &out->cap, sizeof *out->list);
        out->list[out->n++] = from->list[i];
        from->list[i] = NULL;
    }
}

static enum status find_modules(const char *folder, struct names *out, struct error *err) {
    struct names top = {0};
    bool any = false;
    enum status st = list_folder(folder, "", &top, err);
    for (size_t i = 0; i < top.n && !st; i++) {
        struct names inner = {0};
        if (!is_module_folder(folder, top.list[i])) continue;
        any = true;
        st = list_folder(folder, top.list[i], &inner, err);
        keep_files(&inner, out);
        names_free(&inner);
    }
    if (!any) keep_files(&top, out);
    names_free(&top);
    if (st) return st;
    if (!out->n) return error_set(err, ST_NOTFOUND, "there are no modules (*.xml) in %s", folder);
    if (out->n > MODULES_MAX) return error_set(err, ST_TOOBIG, "%s has more than %u modules", folder, MODULES_MAX);
    return ST_OK;
}

static enum status read_modules(const char *folder, const struct names *names, struct merge_module *modules,
                                struct buf *bytes, struct error *err) {
    for (size_t i = 0; i < names->n; i++) {
        char *path = join(folder, names->list[i]);
        enum status st = file_read(path, RULES_XML_MAX, &bytes[i], err);
        mem_free(path);
        if (st) return st;
        modules[i] = (struct merge_module){names->list[i], buf_slice(&bytes[i])};
    }
    return ST_OK;
}

/* The base's path, owned; NULL: none. */
static char *base_path(const char *folder, const char *base) {
    struct stat sb;
    if (base) return mem_strdup(base);
    char *path = join(folder, TEMPLATE);
    if (stat(path, &sb) == 0 && S_ISREG(sb.st_mode)) return path;
    mem_free(path);
    return NULL;
}

static enum status merge_named(const char *folder, const char *base, const struct names *names, struct buf *ret_xml,
                               struct error *err) {
    struct merge_module *modules = mem_zalloc(names->n * sizeof *modules), base_module = {base, {NULL, 0}};
    struct buf *bytes = mem_zalloc(names->n * sizeof *bytes), base_bytes = {0}, complaints = {0};
    enum status st = read_modules(folder, names, modules, bytes, err);
    if (!st && base) st = file_read(base, RULES_XML_MAX, &base_bytes, err);
    base_module.bytes = buf_slice(&base_bytes);
    if (!st) st = ruleset_merge(base ? &base_module : NULL, modules, names->n, ret_xml, &complaints, err);
    if (complaints.len) fwrite(complaints.p, 1, complaints.len, stderr);
    for (size_t i = 0; i < names->n; i++) buf_free(&bytes[i]);
    mem_free(bytes);
    mem_free(modules);
    buf_free(&base_bytes);
    buf_free(&complaints);
    return st;
}

MUST_USE enum status modules_merge(const char *folder, const char *base, struct buf *ret_xml, size_t *ret_n,
                                   struct error *err) {
    struct names names = {0};
    char *path = base_path(folder, base);
    enum status st = find_modules(folder, &names, err);
    if (!st) st = merge_named(folder, path, &names, ret_xml, err);
    if (!st && ret_n) *ret_n = names.n;
    names_free(&names);
    mem_free(path);
    return st == ST_INVALID ? ST_FORMAT : st; /* wrong files, not a wrong command */
}
