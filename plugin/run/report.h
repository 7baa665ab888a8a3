/* The machine-readable report of a run: measurements of a network as JSON objects. */
#ifndef PRUNE_RUN_REPORT_H
#define PRUNE_RUN_REPORT_H

#include <cjson/cJSON.h>

#include "../host.h"
#include "../model/net_shape.h"

/* {"parameters","macs","bflops","megabytes","milliseconds","top1","top5","map50","map","loss","images"}; what is not measured is null. */
cJSON *prune_report_network(const struct prune_net *net, const char *weights_path, double milliseconds, const struct prune_evaluation *e);
/* Appends {"name","top1","top5","map50","map","loss"} to report["stages"]. */
void prune_report_stage(cJSON *report, const char *name, const struct prune_evaluation *e);
/* Evaluates, appends the stage and says it on stderr; *e is to be released. */
enum prune_code prune_report_evaluate(cJSON *report, const struct prune_host *host, struct prune_host_net *net, const struct prune_image_set *set, const char *stage,
                                      struct prune_evaluation *e, struct prune_status *st);
void prune_report_number(cJSON *object, const char *name, double value);   /* null when not finite */
enum prune_code prune_report_write(const cJSON *report, const char *path, struct prune_status *st);

#endif
