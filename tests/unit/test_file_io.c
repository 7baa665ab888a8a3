/* Files: whole reads, maps, atomic writes. Uses a fresh folder under $TMPDIR; a full disk is played by RLIMIT_FSIZE. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../plugin/base/file_io.h"

static char folder[4096];

static int make_folder(void **state)
{
    (void)state;
    const char *root = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/prune-file-io-XXXXXX", root ? root : "/tmp");
    return mkdtemp(folder) ? chdir(folder) : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return chdir("/") || system(command);
}

/* Entries of the working folder whose name holds ".tmp.". */
static int temporary_files(void)
{
    int count = 0;
    DIR *d = opendir(".");
    for (struct dirent *e; (e = readdir(d));) count += strstr(e->d_name, ".tmp.") != NULL;
    closedir(d);
    return count;
}

static void assert_content(const char *path, const char *text)
{
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(prune_read_file(path, &bytes, &size, NULL), PRUNE_OK);
    assert_int_equal(size, strlen(text));
    assert_string_equal(bytes, text);
    free(bytes);
}

static void a_written_file_reads_back_whole(void **state)
{
    (void)state;
    struct prune_status st = {0};
    size_t size = 300001; /* more than the writer's buffer */
    char *bytes = malloc(size), *back = NULL;
    for (size_t i = 0; i < size; i++) bytes[i] = (char)(i * 31 + i / 256);
    struct prune_writer *w = NULL;
    assert_int_equal(prune_writer_open(&w, "a.bin", &st), PRUNE_OK);
    for (size_t at = 0, n = 1; at < size; at += n, n = n * 3 % 70001 + 1) {
        if (n > size - at) n = size - at;
        assert_int_equal(prune_writer_put(w, bytes + at, n, &st), PRUNE_OK);
    }
    assert_int_equal(prune_writer_commit(w, &st), PRUNE_OK);
    assert_int_equal(prune_read_file("a.bin", &back, &size, &st), PRUNE_OK);
    assert_int_equal(size, 300001);
    assert_memory_equal(bytes, back, size);
    assert_int_equal(temporary_files(), 0);
    free(bytes);
    free(back);
}

static void an_aborted_write_keeps_the_old_file_and_leaves_nothing(void **state)
{
    (void)state;
    struct prune_writer *w = NULL;
    assert_int_equal(prune_write_file("old", "before", 6, NULL), PRUNE_OK);
    assert_int_equal(prune_writer_open(&w, "old", NULL), PRUNE_OK);
    assert_int_equal(prune_writer_put(w, "after", 5, NULL), PRUNE_OK);
    assert_int_equal(temporary_files(), 1);
    prune_writer_abort(w);
    prune_writer_abort(NULL);
    assert_content("old", "before");
    assert_int_equal(temporary_files(), 0);
}

static void a_full_disk_names_the_file_and_keeps_the_old_one(void **state)
{
    (void)state;
    struct prune_status st = {0};
    struct rlimit old, small;
    char *bytes = calloc(1, 200000);
    assert_int_equal(prune_write_file("full", "before", 6, NULL), PRUNE_OK);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 100000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum prune_code code = prune_write_file("full", bytes, 200000, &st);
    setrlimit(RLIMIT_FSIZE, &old);
    free(bytes);
    assert_int_equal(code, PRUNE_FAILED);
    assert_string_equal(st.message, "cannot write 'full': File too large");
    assert_content("full", "before");
    assert_int_equal(temporary_files(), 0);
}

/* Several blocks: a thread writes them. Pieces of every size up to a block and a bit, and room asked for directly. */
static void a_large_file_is_written_in_order(void **state)
{
    (void)state;
    enum { NUMBERS = 1500000 };
    struct prune_status st = {0};
    struct prune_writer *w = NULL;
    uint32_t *numbers = malloc(NUMBERS * sizeof *numbers);
    assert_non_null(numbers);
    for (uint32_t i = 0; i < NUMBERS; i++) numbers[i] = i * 2654435761u;
    assert_int_equal(prune_writer_open(&w, "large", &st), PRUNE_OK);
    for (size_t at = 0, piece = 1; at < NUMBERS; piece = piece * 3 % 70001) {
        size_t n = NUMBERS - at < piece ? NUMBERS - at : piece, room = 4 * n;
        void *to = NULL;
        if (piece % 2) assert_int_equal(prune_writer_put(w, numbers + at, 4 * n, &st), PRUNE_OK);
        else {
            assert_int_equal(prune_writer_room(w, &to, &room, &st), PRUNE_OK);
            n = room / 4 < n ? room / 4 : n;
            memcpy(to, numbers + at, 4 * n);
            prune_writer_filled(w, 4 * n);
        }
        at += n;
    }
    assert_int_equal(prune_writer_commit(w, &st), PRUNE_OK);
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(prune_read_file("large", &bytes, &size, &st), PRUNE_OK);
    assert_int_equal(size, NUMBERS * sizeof *numbers);
    assert_memory_equal(bytes, numbers, size);
    free(bytes);
    free(numbers);
    assert_int_equal(temporary_files(), 0);
}

static void a_disk_that_fills_up_behind_the_writer_is_named(void **state)
{
    (void)state;
    static const char block[1 << 16];
    struct prune_status st = {0};
    struct prune_writer *w = NULL;
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 3 << 20;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(prune_writer_open(&w, "filling", &st), PRUNE_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum prune_code code = PRUNE_OK;
    for (int i = 0; !code && i < 128; i++) code = prune_writer_put(w, block, sizeof block, &st);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(code, PRUNE_FAILED);
    assert_string_equal(st.message, "cannot write 'filling': File too large");
    prune_writer_abort(w);
    assert_false(prune_path_exists("filling"));
    assert_int_equal(temporary_files(), 0);
}

static void permissions_of_the_old_file_are_kept(void **state)
{
    (void)state;
    struct stat info;
    assert_int_equal(prune_write_file("mode", "1", 1, NULL), PRUNE_OK);
    assert_int_equal(chmod("mode", 0640), 0);
    assert_int_equal(prune_write_file("mode", "22", 2, NULL), PRUNE_OK);
    assert_int_equal(stat("mode", &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
    assert_int_equal(info.st_size, 2);
}

static void a_link_stays_a_link_and_its_target_is_replaced(void **state)
{
    (void)state;
    struct stat info;
    assert_int_equal(mkdir("there", 0755), 0);
    assert_int_equal(prune_write_file("there/target", "old", 3, NULL), PRUNE_OK);
    assert_int_equal(symlink("there/target", "link"), 0);
    assert_int_equal(prune_write_file("link", "new", 3, NULL), PRUNE_OK);
    assert_int_equal(lstat("link", &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_content("there/target", "new");
}

static void a_left_over_temporary_file_is_neither_used_nor_removed(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof name, ".crashed.tmp.%ld", (long)getpid());
    int fd = open(name, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(prune_write_file("crashed", "x", 1, NULL), PRUNE_OK);
    assert_content("crashed", "x");
    assert_content(name, "");
    unlink(name);
}

static void folders_and_devices_are_refused(void **state)
{
    (void)state;
    struct prune_status st = {0};
    struct prune_writer *w = NULL;
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(prune_read_file(".", &bytes, &size, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot read '.': it is a folder, not a file");
    assert_int_equal(prune_read_file("/dev/null", &bytes, &size, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot read '/dev/null': it is a special file, not a file");
    assert_int_equal(prune_writer_open(&w, "/dev/null", &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot write '/dev/null': it is a special file, not a file");
    assert_int_equal(prune_writer_open(&w, ".", &st), PRUNE_FAILED);
    assert_int_equal(prune_writer_open(&w, "no/such/folder/x", &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot write 'no/such/folder/x': No such file or directory");
    assert_int_equal(prune_writer_open(&w, "new/", &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot write 'new/': no file name");
    assert_int_equal(prune_read_file("absent", &bytes, &size, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot read 'absent': No such file or directory");
    assert_null(bytes);
}

static void a_map_shows_the_bytes_also_after_its_pages_were_dropped(void **state)
{
    (void)state;
    size_t size = 3 * 4096 + 5;
    char *bytes = malloc(size);
    memset(bytes, 'q', size);
    struct prune_map map;
    assert_int_equal(prune_write_file("map", bytes, size, NULL), PRUNE_OK);
    assert_int_equal(prune_map_open(&map, "map", NULL), PRUNE_OK);
    assert_int_equal(map.size, size);
    prune_map_release_pages(&map, 1, size);
    prune_map_release_pages(&map, 100, 200);
    assert_memory_equal(map.bytes, bytes, size);
    prune_map_close(&map);
    assert_null(map.bytes);
    free(bytes);
    assert_int_equal(prune_write_file("nothing", "", 0, NULL), PRUNE_OK);
    assert_int_equal(prune_map_open(&map, "nothing", NULL), PRUNE_OK);
    assert_int_equal(map.size, 0);
    assert_null(map.bytes);
    prune_map_close(&map);
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    struct prune_status st = {0};
    assert_int_equal(prune_make_dirs("x/y//z/", &st), PRUNE_OK);
    assert_true(prune_path_exists("x/y/z"));
    assert_int_equal(prune_make_dirs("x/y/z", &st), PRUNE_OK);
    assert_int_equal(prune_write_file("x/file", "", 0, NULL), PRUNE_OK);
    assert_int_equal(prune_make_dirs("x/file/deeper", &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot create folder 'x/file/deeper': Not a directory");
    assert_int_equal(prune_make_dirs("x/file", &st), PRUNE_FAILED);
    assert_int_equal(prune_make_dirs("", &st), PRUNE_FAILED);
    char *made = prune_dirs_missing("x/new/deep//er/");
    assert_string_equal(made, "x/new");
    assert_int_equal(prune_make_dirs("x/new/deep//er/", &st), PRUNE_OK);
    assert_null(prune_dirs_missing("x/new"));
    prune_remove_dirs("x/new/deep//er/", made);
    assert_false(prune_path_exists("x/new"));
    assert_true(prune_path_exists("x"));
    assert_int_equal(prune_make_dirs("x/new/deep", &st), PRUNE_OK);
    assert_int_equal(prune_write_file("x/new/kept", "k", 1, &st), PRUNE_OK);
    prune_remove_dirs("x/new/deep", made);
    assert_false(prune_path_exists("x/new/deep"));
    assert_true(prune_path_exists("x/new/kept"));
    free(made);
}

static void two_names_of_one_file_are_the_same_file(void **state)
{
    (void)state;
    assert_int_equal(prune_write_file("one", "1", 1, NULL), PRUNE_OK);
    assert_int_equal(link("one", "two"), 0);
    assert_int_equal(prune_write_file("three", "1", 1, NULL), PRUNE_OK);
    assert_true(prune_same_file("one", "./two"));
    assert_false(prune_same_file("one", "three"));
    assert_false(prune_same_file("one", "absent"));
    assert_false(prune_same_file("absent", "absent"));
}

static void assert_text(char *text, const char *want)
{
    assert_string_equal(text, want);
    free(text);
}

static void names_are_built_in_darknets_manner(void **state)
{
    (void)state;
    assert_text(prune_base_name("cfg/yolov3-tiny.cfg"), "yolov3-tiny");
    assert_text(prune_base_name("yolov3-0.5.cfg"), "yolov3-0_5");
    assert_text(prune_base_name("a.b/plain"), "plain");
    assert_text(prune_base_name("dir/net.cfg/"), "net");
    assert_text(prune_base_name(".hidden"), "_hidden");
    assert_text(prune_path_join("out", "a.cfg"), "out/a.cfg");
    assert_text(prune_path_join("out/", "a.cfg"), "out/a.cfg");
    assert_text(prune_path_join("", "a.cfg"), "a.cfg");
    assert_text(prune_format("%d-%s", 7, "x"), "7-x");
}

static void hashes_are_xxh64_with_seed_0(void **state)
{
    (void)state;
    char text[32];
    assert_true(prune_hash_bytes("", 0) == 0xef46db3751d8e999u); /* published test vectors */
    assert_true(prune_hash_bytes("a", 1) == 0xd24ec4f1a98c6e5bu);
    assert_true(prune_hash_bytes("abc", 3) == 0x44bc2cf5ad770999u);
    assert_int_equal(prune_write_file("abc", "abc", 3, NULL), PRUNE_OK);
    assert_int_equal(prune_hash_file("abc", text, NULL), PRUNE_OK);
    assert_string_equal(text, "xxh64:44bc2cf5ad770999");
}

static void messages_are_cut_and_prefixed(void **state)
{
    (void)state;
    struct prune_status st = {0};
    char *text = malloc(3000);
    memset(text, 'x', 2999);
    text[2999] = '\0';
    assert_int_equal(prune_fail(&st, "%s", text), PRUNE_FAILED);
    assert_int_equal(strlen(st.message), sizeof st.message - 1);
    assert_string_equal(st.message + sizeof st.message - 4, "...");
    free(text);
    assert_int_equal(prune_fail_usage(&st, "bad %s", "flag"), PRUNE_USAGE);
    assert_int_equal(prune_explain(&st, "%s: ", "verb"), PRUNE_USAGE);
    assert_string_equal(st.message, "verb: bad flag");
    assert_int_equal(prune_fail(NULL, "dropped"), PRUNE_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_written_file_reads_back_whole),
        cmocka_unit_test(an_aborted_write_keeps_the_old_file_and_leaves_nothing),
        cmocka_unit_test(a_full_disk_names_the_file_and_keeps_the_old_one),
        cmocka_unit_test(a_large_file_is_written_in_order),
        cmocka_unit_test(a_disk_that_fills_up_behind_the_writer_is_named),
        cmocka_unit_test(permissions_of_the_old_file_are_kept),
        cmocka_unit_test(a_link_stays_a_link_and_its_target_is_replaced),
        cmocka_unit_test(a_left_over_temporary_file_is_neither_used_nor_removed),
        cmocka_unit_test(folders_and_devices_are_refused),
        cmocka_unit_test(a_map_shows_the_bytes_also_after_its_pages_were_dropped),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(two_names_of_one_file_are_the_same_file),
        cmocka_unit_test(names_are_built_in_darknets_manner),
        cmocka_unit_test(hashes_are_xxh64_with_seed_0),
        cmocka_unit_test(messages_are_cut_and_prefixed),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
