/* THE table of verbs, help, and the way from a status to an exit code. */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../version.h"
#include "common.h"
#include "verbs.h"

/* In the order of the summary: the whole job, then its steps. */
static const struct prune_command *const VERBS[] = {
    &prune_command_run, &prune_command_inspect, &prune_command_score, &prune_command_oracle, &prune_command_correlate, &prune_command_curve,
    &prune_command_select, &prune_command_surgery, &prune_command_apply, &prune_command_expand, &prune_command_reconstruct, &prune_command_compose, &prune_command_verify,
    &prune_command_finetune, &prune_command_evaluate,
    &prune_command_gate, &prune_command_criteria, &prune_command_report,
};
enum { VERB_COUNT = sizeof VERBS / sizeof *VERBS };

const struct prune_command *const *prune_commands(size_t *count)
{
    *count = VERB_COUNT;
    return VERBS;
}

static const struct prune_command *find_verb(const char *name)
{
    for (int i = 0; i < VERB_COUNT; i++)
        if (strcmp(VERBS[i]->name, name) == 0) return VERBS[i];
    return NULL;
}

static void print_summary(FILE *out)
{
    fputs("usage: darknet prune <verb> [arguments] [-flag value ...]\n\n"
          "Removes whole channels and residual blocks from a trained Darknet network. The result is a smaller\n"
          "cfg and weights that load wherever the original does.\n\n"
          "quick start:\n"
          "  # look at the layers and at what can be removed\n"
          "  $ darknet prune inspect net.cfg net.weights\n"
          "  # prune to half the multiply-adds, fine-tune for two epochs, report\n"
          "  $ darknet prune run data.data net.cfg net.weights -macs 0.5 -finetune 2 -out pruned\n"
          "  # prune without data and training, cfgs of every Darknet\n"
          "  $ darknet prune apply net.cfg net.weights -criterion magnitude -macs 0.5 -out pruned\n\n"
          "verbs:\n", out);
    for (int i = 0; i < VERB_COUNT; i++) fprintf(out, "  %-11s  %s\n", VERBS[i]->name, VERBS[i]->summary);
    fputs("\n'darknet prune <verb> -help' explains a verb and its flags, 'darknet prune -version' prints\n"
          "the version.\n"
          "exit codes: 0 done, 1 failed or interrupted, 2 wrong usage\n", out);
}

static bool is_help(const char *word)
{
    return strcmp(word, "-help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* A result nobody could read is a failure: "> /dev/full", a closed pipe. */
static int finish_output(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fprintf(stderr, "darknet prune: cannot write to standard output: %s\n", strerror(errno));
    return code ? code : 1;
}

static int unknown_verb(const char *word)
{
    const char *names[VERB_COUNT];
    for (int i = 0; i < VERB_COUNT; i++) names[i] = VERBS[i]->name;
    const char *near = prune_nearest(word, names, VERB_COUNT);
    fprintf(stderr, "darknet prune: unknown verb '%s'", word);
    if (near) fprintf(stderr, "; did you mean '%s'?", near);
    fputs("\nsee: darknet prune -help\n", stderr);
    return 2;
}

static int run_verb(const struct prune_command *verb, int argc, char **argv, const struct prune_host *host)
{
    struct prune_status st = {0};
    enum prune_code rc = verb->run(argc, argv, host, &st);
    int code = finish_output(rc == PRUNE_OK ? 0 : rc == PRUNE_USAGE ? 2 : 1);
    if (rc == PRUNE_OK) return code;
    fprintf(stderr, "darknet prune %s: %s\n", verb->name, st.message[0] ? st.message : "interrupted");
    if (rc == PRUNE_USAGE) fprintf(stderr, "see: darknet prune %s -help\n", verb->name);
    return code;
}

int prune_main(int argc, char **argv, const struct prune_host *host)
{
    if (argc < 1 || is_help(argv[0]) || strcmp(argv[0], "help") == 0) {
        print_summary(stdout);
        return finish_output(0);
    }
    if (strcmp(argv[0], "-version") == 0 || strcmp(argv[0], "--version") == 0) {
        printf("darknet prune %s, host: %s\n", PRUNE_VERSION, host ? host->name : "none");
        return finish_output(0);
    }
    const struct prune_command *verb = find_verb(argv[0]);
    if (!verb) return unknown_verb(argv[0]);
    for (int i = 1; i < argc; i++) {
        if (!is_help(argv[i])) continue;
        fputs(verb->usage, stdout);
        return finish_output(0);
    }
    return run_verb(verb, argc, argv, host);
}
