/* `haechi`: finds the command, parses its options, opens the API, runs it. Exit codes: 0 done, 1 refused or failed (one
 * line on stderr says why and what to do), 2 wrong usage. */
#include "commands.h"
#include "mem.h"
#include "text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef HAECHI_VERSION
#define HAECHI_VERSION "unknown"
#endif

#define MAX_COMMANDS 64

static size_t all_commands(const struct command *out[MAX_COMMANDS]) {
    const struct {
        const struct command *table;
        size_t n;
    } groups[] = {{fleet_commands, n_fleet_commands},
                  {event_commands, n_event_commands},
                  {store_commands, n_store_commands},
                  {import_commands, n_import_commands}};
    size_t n = 0;
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        const struct command *table = groups[g].table;
        for (size_t i = 0; i < groups[g].n; i++) out[n++] = table + i;
    }
    for (const struct command *const *c = rules_commands; *c; c++) out[n++] = *c;
    return n;
}

static void print_overview(void) {
    const struct command *all[MAX_COMMANDS];
    size_t n = all_commands(all);
    printf("usage: haechi COMMAND [options]\n\nAsks a Haechi collector what hosts did, and runs its fleet.\n\n");
    for (size_t i = 0; i < n; i++) printf("  %-14s  %s\n", all[i]->args.name, all[i]->summary);
    printf(
        "\nhaechi COMMAND --help says more. The collector is found by --api, then HAECHI_API, then the default socket.\n");
}

/* The words of a command's name that argv begins with; 0: it does not. */
static int name_matches(const char *name, int argc, char **argv) {
    char both[64];
    if (argc >= 1 && strcmp(name, argv[0]) == 0) return 1;
    if (argc < 2) return 0;
    snprintf(both, sizeof both, "%s %s", argv[0], argv[1]);
    return strcmp(name, both) == 0 ? 2 : 0;
}

static bool is_group(const char *word, const struct command *const *all, size_t n) {
    size_t len = strlen(word);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(all[i]->args.name, word, len) == 0 && all[i]->args.name[len] == ' ') return true;
    }
    return false;
}

/* What to say about words that name no command. */
static int unknown_command(int argc, char **argv, const struct command *const *all, size_t n) {
    const char *names[MAX_COMMANDS];
    char typed[64];
    bool group = is_group(argv[0], all, n);
    for (size_t i = 0; i < n; i++) names[i] = all[i]->args.name;
    if (group && (argc < 2 || argv[1][0] == '-')) {
        bool help = args_wants_help(argc, argv);
        fprintf(help ? stdout : stderr, "usage: haechi %s ...\n\n", argv[0]);
        for (size_t i = 0; i < n; i++) {
            if (strncmp(names[i], argv[0], strlen(argv[0])) == 0) {
                fprintf(help ? stdout : stderr, "  %-14s  %s\n", names[i], all[i]->summary);
            }
        }
        return help ? 0 : 2;
    }
    if (group) {
        snprintf(typed, sizeof typed, "%s %s", argv[0], argv[1]);
    } else {
        snprintf(typed, sizeof typed, "%s", argv[0]);
    }
    const char *near = text_suggest(typed, names, n);
    if (near) {
        fprintf(stderr, "haechi: unknown command '%s'; did you mean '%s'?\n", typed, near);
    } else {
        fprintf(stderr, "haechi: unknown command '%s'; see haechi --help\n", typed);
    }
    return 2;
}

static int run_command(const struct command *cmd, int argc, char **argv) {
    struct error err = {0};
    struct arg_list words = {0};
    struct client *client = NULL;
    void *options = mem_zalloc(cmd->options_size);
    int code = 2;
    enum status st = args_parse(&cmd->args, argc, argv, options, &words, &err);
    if (!st) {
        code = 1;
        st = client_open(((struct common *)options)->api, &client, &err);
        if (!st) st = cmd->run(client, options, &words, &err);
        if (!st && fflush(stdout)) st = error_set(&err, ST_CLOSED, "cannot write the answer");
    }
    if (st == ST_INVALID) code = 2; /* an argument that makes no sense, whoever found it */
    if (!st) {
        code = 0;
    } else if (st != ST_CLOSED || err.msg[0]) { /* a reader that has seen enough is no failure to speak of */
        fprintf(stderr, "haechi %s: %s\n", cmd->args.name, err.msg[0] ? err.msg : status_text(st));
    }
    client_close(&client);
    for (size_t i = 0; i < cmd->args.n_options; i++) {
        const struct arg_option *o = &cmd->args.options[i];
        if (o->type == ARG_LIST) arg_list_free((struct arg_list *)((char *)options + o->offset));
    }
    arg_list_free(&words);
    mem_free(options);
    return code;
}

int main(int argc, char **argv) {
    const struct command *all[MAX_COMMANDS];
    size_t n = all_commands(all);
    signal(SIGPIPE, SIG_IGN);
    argc--;
    argv++;
    char *api = NULL;
    if (argc >= 2 && strcmp(argv[0], "--api") == 0) { /* also before the command */
        api = argv[1];
        argc -= 2;
        argv += 2;
    } else if (argc >= 1 && strncmp(argv[0], "--api=", 6) == 0) {
        api = argv[0] + 6;
        argc--;
        argv++;
    }
    if (api) setenv("HAECHI_API", api, 1);
    if (!argc) {
        print_overview();
        return 2;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0) {
        print_overview();
        return 0;
    }
    if (strcmp(argv[0], "--version") == 0) {
        printf("haechi %s\n", HAECHI_VERSION);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        int used = name_matches(all[i]->args.name, argc, argv);
        if (!used) continue;
        if (!args_wants_help(argc - used, argv + used)) return run_command(all[i], argc - used, argv + used);
        struct buf help = {0};
        args_help(&help, "haechi", &all[i]->args);
        fwrite(help.p, 1, help.len, stdout);
        buf_free(&help);
        return 0;
    }
    return unknown_command(argc, argv, all, n);
}
