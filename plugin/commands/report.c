/* `darknet prune report`: the before/after table of a run, from its report.json. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../base/file_io.h"
#include "args.h"
#include "table.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune report <report.json | folder of a run>\n"
    "\n"
    "Prints what a run did: the table before/after (accuracy, parameters, multiply-adds, BFLOPs, MB,\n"
    "milliseconds), the accuracy after each stage, and where the pruned network is.\n"
    "\n"
    "example:\n"
    "  darknet prune report pruned/report.json\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 wrong usage\n";

static const char FORMAT[] = "darknet-prune-report";
enum { VERSION = 1 };

static enum prune_code check(const char *path, const cJSON *json, struct prune_status *st)
{
    const char *format = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "format"));
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(json, "version");
    if (!json) return prune_fail(st, "cannot read '%s': it is not JSON", path);
    if (!format || strcmp(format, FORMAT) != 0) return prune_fail(st, "'%s' is not the report of a run: its format is '%s', expected '%s'", path, format ? format : "", FORMAT);
    if (!cJSON_IsNumber(version) || version->valuedouble != VERSION)
        return prune_fail(st, "'%s' has version %g, this program reads %d", path, cJSON_IsNumber(version) ? version->valuedouble : 0, VERSION);
    if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(json, "before")) || !cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(json, "after")))
        return prune_fail(st, "'%s' has no \"before\" or no \"after\"", path);
    return PRUNE_OK;
}

static void print_line(const cJSON *json, const char *key, const char *title)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (cJSON_IsString(item)) printf("%-16s %s\n", title, item->valuestring);
    else if (cJSON_IsNumber(item)) printf("%-16s %g\n", title, item->valuedouble);
}

static void print_report(const cJSON *json)
{
    static const struct { const char *key, *title; } lines[] = {
        {"cfg", "cfg"}, {"weights", "weights"}, {"criterion", "criterion"}, {"target", "target"}, {"remain", "remains"}, {"seed", "seed"},
        {"stopped_by", "stopped by"}, {"verified", "verified to"}, {"pruned_cfg", "pruned cfg"}, {"pruned_weights", "pruned weights"}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) print_line(json, lines[i].key, lines[i].title);
    putchar('\n');
    prune_table_print(stdout, json);
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{0}};
    (void)host;
    struct prune_args a;
    struct stat info;
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 1, 1, st);
    if (rc) return rc;
    bool folder = stat(a.positional[0], &info) == 0 && S_ISDIR(info.st_mode);
    char *path = folder ? prune_path_join(a.positional[0], "report.json") : strdup(a.positional[0]);
    if (!path) return prune_fail_memory(st, strlen(a.positional[0]), "path");
    rc = prune_read_file(path, &bytes, &size, st);
    if (!rc) {
        cJSON *json = cJSON_ParseWithLength(bytes, size);
        rc = check(path, json, st);
        if (!rc) print_report(json);
        cJSON_Delete(json);
    }
    free(bytes);
    free(path);
    return rc;
}

const struct prune_command prune_command_report = {"report", "the before/after table of a run", USAGE, run};
