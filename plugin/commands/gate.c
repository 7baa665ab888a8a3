/* `darknet prune gate`: writes a cfg with a [gate] section behind every batch-normalised convolution and every standalone batch-norm. All other bytes
 * of the cfg stay as they are, line endings included. Refuses a cfg without batch-norm, and to overwrite its input. */
#include <stdio.h>
#include <stdlib.h>

#include "../base/file_io.h"
#include "common.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune gate <cfg> -out FILE\n"
    "\n"
    "Writes FILE: the cfg with a [gate] section behind every batch-normalised [convolutional] and every\n"
    "[batchnorm] section that has none yet. Our executable loads, trains and evaluates such a cfg; one\n"
    "gate per prunable unit, all open unless <base>.gates beside <base>.weights says otherwise\n"
    "(docs/gates.md). Stock Darknet does not know [gate]; pruning itself (run, score) needs no sections.\n"
    "\n"
    "  -out FILE         the cfg to write; required, not the input\n"
    "\n"
    "example:\n"
    "  darknet prune gate resnet20.cfg -out resnet20-gated.cfg\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 wrong usage\n";

static bool takes_gate(const struct prune_layer *l)
{
    return l->gate_section < 0 && ((l->kind == PRUNE_CONVOLUTIONAL && l->batch_normalize) || l->kind == PRUNE_BATCHNORM);
}

/* Behind the last option, so that comments in front of the next section stay with it. */
static enum prune_code add_section(struct prune_edit_list *edits, const struct prune_cfg *cfg, const struct prune_section *s, struct prune_status *st)
{
    size_t at = s->option_count ? s->options[s->option_count - 1].line_span.end : s->header_span.end;
    const char *end = cfg->crlf ? "\r\n" : "\n";
    bool closed = at > 0 && cfg->bytes[at - 1] == '\n';   /* the file's last line may lack its ending */
    char *text = prune_format("%s%s[gate]%s", closed ? "" : end, end, closed ? end : "");
    if (!text) return prune_fail_memory(st, 16, "an edit of a cfg");
    enum prune_code rc = prune_edit_add(edits, (struct prune_span){at, at}, text, st);
    free(text);
    return rc;
}

static enum prune_code gated_text(const struct prune_cfg *cfg, const struct prune_net *net, char **bytes, size_t *size, size_t *gates, struct prune_status *st)
{
    struct prune_edit_list edits = {0};
    enum prune_code rc = PRUNE_OK;
    *gates = 0;
    for (size_t i = 0; !rc && i < net->layer_count; i++) {
        if (!takes_gate(&net->layers[i])) continue;
        rc = add_section(&edits, cfg, &cfg->sections[net->layers[i].section], st);
        ++*gates;
    }
    if (!rc && !*gates) rc = prune_fail(st, "no gate added to '%s': it has no batch-normalised convolution without one", cfg->path);
    if (!rc) rc = prune_edit_apply(cfg, &edits, bytes, size, st);
    prune_edit_free(&edits);
    return rc;
}

/* What we are about to write must be a cfg that our own reader accepts. */
static enum prune_code check_text(const char *path, const char *bytes, size_t size, struct prune_status *st)
{
    struct prune_cfg cfg;
    struct prune_net net;
    enum prune_code rc = prune_cfg_parse(&cfg, path, bytes, size, st);
    if (rc) return rc;
    rc = prune_net_build(&net, &cfg, st);
    if (!rc) prune_net_free(&net);
    prune_cfg_free(&cfg);
    return rc;
}

static enum prune_code write_gated(const char *in, const char *out, struct prune_status *st)
{
    struct prune_cfg cfg;
    struct prune_net net;
    char *bytes = NULL;
    size_t size = 0, gates = 0;
    enum prune_code rc = prune_net_read(&cfg, &net, in, st);
    if (rc) return rc;
    if (net.foreign_line)
        rc = prune_fail(st, "cannot use '%s:%d': %s is known to AlexeyAB's and hank-ai's Darknet only, and no program of theirs, or ours, could run the cfg with [gate] sections", in, net.foreign_line, net.foreign);
    if (!rc) rc = prune_check_output(out, &in, 1, st);
    if (!rc) rc = gated_text(&cfg, &net, &bytes, &size, &gates, st);
    if (!rc) rc = check_text(out, bytes, size, st);
    if (!rc) rc = prune_write_file(out, bytes, size, st);
    if (!rc) printf("%s: %zu gates\n", out, gates);
    free(bytes);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"out", true}, {0}};
    struct prune_args args;
    (void)host;
    enum prune_code rc = prune_args_parse(&args, argc, argv, flags, 1, 1, st);
    if (rc) return rc;
    const char *out = prune_args_string(&args, "out", NULL);
    if (!out) return prune_fail_usage(st, "-out is missing: the cfg to write");
    return write_gated(args.positional[0], out, st);
}

const struct prune_command prune_command_gate = {"gate", "write a cfg with a [gate] section behind every batch-norm", USAGE, run};
