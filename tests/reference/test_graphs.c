/* Random graphs: masked weights = shut gates = pruned pair in the reference interpreter, to 1e-9 of the largest value at the heads; a mask that keeps all changes
 * no byte; the cfg changes in counts alone; what is written reads back. First everything in tests/golden/graphs (failures of the past), then GRAPHS graphs from
 * SEED on (environment; 1000 from 1), in as many processes as there are cores (at most 4). DIALECT=pjreddie or alexeyab: those alone. A failure is shrunk and
 * kept. Ends with what the graphs contained (nothing may be missing) and the counts.
 *   test_graphs -dump DIR N         writes N tame graphs for other readers, plain text, header 0.2.5: DIR/SEED/... (tests/reference/test_graphs_opencv.py)
 *   test_graphs -dump-whole DIR N   as they are (tests/host/test_equality.py) */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../plugin/base/file_io.h"
#include "coverage.h"
#include "kinds.h"
#include "shrink.h"

static const char KEPT[] = "tests/golden/graphs";
struct tally { struct coverage coverage; struct proof_counts counts; unsigned graphs, failed, pruned, sections; uint64_t at; };

static struct tally *mine;       /* of this process, for the message of a crash */

static void say_where(int signal_number)
{
    char text[96];
    int n = snprintf(text, sizeof text, "FAIL crash (signal %d) in graph %llu\n", signal_number, (unsigned long long)(mine ? mine->at : 0));
    if (write(STDOUT_FILENO, text, (size_t)n) < 0) {}
    _exit(3);
}

static long from_environment(const char *name, long fallback)
{
    const char *text = getenv(name);
    return text && *text ? atol(text) : fallback;
}

static bool is_wanted(const struct graph *g)
{
    const char *dialect = getenv("DIALECT");
    return !dialect || !strcmp(dialect, g->alexeyab ? "alexeyab" : "pjreddie");
}

/* ---- one graph ---- */

static void prove(struct tally *t, struct graph *g, const char *folder)
{
    struct finding f;
    struct proof_counts counts = {0};
    char *text = graph_text(g, false);
    int layers = g->count - 1;
    t->graphs++;
    if (find_failure(text, folder, g->seed, 1, &f, &counts)) {
        t->failed++;
        printf("FAIL graph %llu (%s, %d layers, %s): %s\n", (unsigned long long)g->seed, g->alexeyab ? "alexeyab" : "pjreddie", layers,
               f.has_mask ? mask_names[f.kind] : "no mask", f.words);
        fflush(stdout);
        if (t->failed <= 8 && shrink_failure(g, folder, &f, KEPT, &layers)) printf("     shrunk to %d layers: %s/%llu.cfg\n", layers, KEPT, (unsigned long long)g->seed);
        fflush(stdout);
    }
    t->counts.masks += counts.masks;
    t->counts.units += counts.units;
    t->counts.groups += counts.groups;
    t->counts.effects += counts.effects;
    t->counts.unfit += counts.unfit;
    t->pruned += counts.units > 0;
    t->sections += (unsigned)g->count - 1;
    if (counts.units) coverage_add(&t->coverage, g, text);
    free(text);
}

static void work(struct tally *t, int worker, int workers, uint64_t first, long graphs)
{
    char folder[64];
    snprintf(folder, sizeof folder, "%s/graphs-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(folder)) exit(1);
    mine = t;
    for (long i = worker; i < graphs; i += workers) {
        struct graph *g = graph_make(t->at = first + (uint64_t)i, false);
        if (is_wanted(g)) prove(t, g, folder);
        free(g);
    }
    char path[96];
    static const char *const files[] = {"net.cfg", "net.weights", "out", ""};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        remove(path);
    }
}

/* ---- failures of the past ---- */

/* Fresh masks, then the kept one; what cured the failure may be that units are tied or protected now, and the kept mask is refused. */
static bool kept_fails(const char *cfg, const char *mask, const char *folder, uint64_t seed, struct finding *f)
{
    struct proof p;
    char *text = NULL;
    size_t size = 0;
    struct prune_status st;
    if (prune_read_file(cfg, &text, &size, &st)) return snprintf(f->words, sizeof f->words, "%s", st.message) > 0;
    bool fails = find_failure(text, folder, seed, 2, f, NULL);
    if (!fails && prune_path_exists(mask) && proof_open(&p, folder, text, seed)) {
        uint8_t *removed = ref_alloc(p.units.count, 1);
        const char *said = prune_mask_read(mask, &p.units, &p.origin, removed, &p.st) || !mask_is_legal(&p, removed) ? NULL : proof_mask(&p, removed, NULL);
        if (said) fails = snprintf(f->words, sizeof f->words, "%s", said) > 0;
        free(removed);
        proof_close(&p);
    }
    free(text);
    return fails;
}

static void prove_all_kept(unsigned *passed, unsigned *failed)
{
    char folder[] = "/tmp/graphs-XXXXXX", cfg[512], mask[512];
    struct finding f;
    struct dirent **list = NULL;
    int n = scandir(KEPT, &list, NULL, alphasort);
    if (!mkdtemp(folder)) exit(1);
    for (int i = 0; i < n; i++) {
        size_t length = strlen(list[i]->d_name);
        if (length > 4 && !strcmp(list[i]->d_name + length - 4, ".cfg")) {
            snprintf(cfg, sizeof cfg, "%s/%s", KEPT, list[i]->d_name);
            snprintf(mask, sizeof mask, "%s/%.*s.mask.json", KEPT, (int)length - 4, list[i]->d_name);
            bool fails = kept_fails(cfg, mask, folder, strtoull(list[i]->d_name, NULL, 10), &f);
            if (fails) printf("FAIL %s: %s\n", cfg, f.words);
            *(fails ? failed : passed) += 1;
        }
        free(list[i]);
    }
    free(list);
    for (int i = 0; i < 4; i++) {
        static const char *const files[] = {"net.cfg", "net.weights", "out", ""};
        snprintf(cfg, sizeof cfg, "%s/%s", folder, files[i]);
        remove(cfg);
    }
}

/* ---- dump ---- */

static int dump(const char *to, long count, uint64_t first, bool tame)
{
    long done = 0;
    for (uint64_t seed = tame ? first / 4 * 4 + 2 : first; done < count && seed < first + 100 * (uint64_t)count; seed += tame ? 4 : 1) {
        struct graph *g = graph_make(seed, tame);
        struct proof p;
        char folder[96], *text = graph_text(g, tame);
        snprintf(folder, sizeof folder, "%.60s/%llu", to, (unsigned long long)seed);
        if (is_wanted(g) && !prune_make_dirs(folder, NULL) && proof_open(&p, folder, text, seed)) {
            uint8_t *removed = ref_alloc(p.units.count, 1);
            if (mask_draw(&p, (enum mask_kind)(seed % MASK_KINDS), seed, removed, NULL) && proof_dump(&p, removed, folder)) done++;
            free(removed);
            proof_close(&p);
        }
        free(text);
        free(g);
    }
    return done == count ? 0 : 1;
}

/* ---- all ---- */

static void add(struct tally *sum, const struct tally *t)
{
    for (int k = 0; k < COVERAGE_MOST; k++) sum->coverage.seen[k] += t->coverage.seen[k];
    sum->counts.masks += t->counts.masks;
    sum->counts.units += t->counts.units;
    sum->counts.groups += t->counts.groups;
    sum->counts.effects += t->counts.effects;
    sum->counts.unfit += t->counts.unfit;
    sum->graphs += t->graphs;
    sum->failed += t->failed;
    sum->pruned += t->pruned;
    sum->sections += t->sections;
}

static void prove_graphs(struct tally *sum, uint64_t first, long graphs)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int workers = cores < 1 ? 1 : cores > 4 ? 4 : (int)cores;
    struct tally *tallies = mmap(NULL, (size_t)workers * sizeof *tallies, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tallies == MAP_FAILED) exit(1);
    fflush(stdout);
    for (int i = 0; i < workers; i++) {
        pid_t child = fork();
        if (child < 0) exit(1);
        if (child) continue;
        work(&tallies[i], i, workers, first, graphs);
        fflush(stdout);
        _exit(0);
    }
    for (int i = 0; i < workers; i++) {
        int status = 0;
        if (wait(&status) < 0 || status) sum->failed++;
    }
    for (int i = 0; i < workers; i++) add(sum, &tallies[i]);
    munmap(tallies, (size_t)workers * sizeof *tallies);
}

int main(int argc, char **argv)
{
    uint64_t first = (uint64_t)from_environment("SEED", 1);
    long graphs = from_environment("GRAPHS", 1000);
    unsigned passed = 0, failed = 0;
    struct tally sum = {0};
    if (argc == 4 && !strncmp(argv[1], "-dump", 5)) return dump(argv[2], atol(argv[3]), first, !strcmp(argv[1], "-dump"));
    signal(SIGSEGV, say_where);
    signal(SIGABRT, say_where);
    signal(SIGFPE, say_where);
    signal(SIGBUS, say_where);
    prove_all_kept(&passed, &failed);
    prove_graphs(&sum, first, graphs);
    printf("graphs of seeds %llu to %llu: %u with %u layers, %u of them pruned by %zu masks: %zu units and %zu whole groups removed, %zu masks change the outputs, "
           "%zu runs left the range of numbers\n",
           (unsigned long long)first, (unsigned long long)first + (unsigned long long)graphs - 1, sum.graphs, sum.sections, sum.pruned, sum.counts.masks, sum.counts.units,
           sum.counts.groups, sum.counts.effects, sum.counts.unfit);
    int missing = coverage_print(&sum.coverage);
    if (graphs >= 1000 && !getenv("DIALECT") && (missing || sum.pruned < sum.graphs * 3 / 4 || sum.counts.effects < sum.counts.masks * 9 / 10 || sum.counts.unfit > sum.graphs / 200)) {
        printf("FAIL the test has lost its teeth: %d of the things above never occur in a pruned graph, %u of %u graphs pruned, %zu runs without finite numbers\n", missing, sum.pruned, sum.graphs, sum.counts.unfit);
        failed++;
    }
    failed += sum.failed;
    passed += sum.graphs > sum.failed ? sum.graphs - sum.failed : 0;
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
