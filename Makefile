# darknet prune: see README.md; `make help` lists the targets.
# Knobs: DARKNET=dir (your own Darknet build: dir/include/darknet.h, dir/libdarknet.so), DEBUG=1, SAN=flags (sanitizers),
# BUILD=dir (objects), BIN=dir (programs), PREFIX= DESTDIR= (install), V=1 (print whole commands). GPU=1 and CUDNN=1 are refused until a GPU host exists.
DARKNET ?=
GPU ?= 0
CUDNN ?= 0
DEBUG ?= 0
SAN ?=
BUILD ?= build
BIN ?= bin
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 30
Q := $(if $(V),,@)
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
ifeq ($(origin CC),default)
CC := gcc
endif

ifneq ($(filter-out 0,$(GPU)),)
$(error GPU=$(GPU): there is no GPU host yet, darknet prune trains and scores on the CPU; build without GPU=)
endif
ifneq ($(filter-out 0,$(CUDNN)),)
$(error CUDNN=$(CUDNN): there is no GPU host yet, darknet prune trains and scores on the CPU; build without CUDNN=)
endif

ifneq ($(DARKNET),)
DARKNET_INC := $(abspath $(DARKNET))/include
DARKNET_LIB := $(abspath $(DARKNET))
# what is not ours is handed to the program built beside that library
HOST_CFLAGS += -DDARKNET_STOCK='"$(abspath $(DARKNET))/darknet"'
else
DARKNET_INC := /usr/lib/darknet/include
DARKNET_LIB := /usr/lib/darknet
endif
# help texts of verbs are longer than the 4095 characters that C99 guarantees
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Wno-overlength-strings
ifneq ($(filter-out 0,$(DEBUG)),)
OPT := -O0 -g
else
OPT := -O2 -g
endif
CFLAGS += -std=c11 -D_GNU_SOURCE $(WARN) $(OPT) $(SAN) -pthread
DEPFLAGS = -MMD -MP -MF $@.d
HOST_CFLAGS += -isystem $(DARKNET_INC) -DDARKNET_LIBRARY='"$(DARKNET_LIB)/libdarknet.so"'
PLUGIN_LIBS := -lcjson -lxxhash -lm -Wl,--push-state,--as-needed -llapacke -lopenblas -Wl,--pop-state
# bin/darknet opens the host's libraries and LAPACKE itself (darknet/host_library.c); that nothing is missing there, the tests' links show
HOST_LATER := -Wl,-z,lazy -Wl,--unresolved-symbols=ignore-in-object-files -Wl,-rpath,$(DARKNET_LIB)
HOST_LIBS := -L$(DARKNET_LIB) -Wl,-rpath,$(DARKNET_LIB) -ldarknet -lopenblas -lpthread

PLUGIN_SRC := $(wildcard plugin/*.c plugin/*/*.c)
HOST_SRC := $(filter-out darknet/main.c,$(wildcard darknet/*.c darknet/kernels/*.c))
PLUGIN_OBJ := $(PLUGIN_SRC:%.c=$(BUILD)/%.o)
HOST_OBJ := $(HOST_SRC:%.c=$(BUILD)/%.o)
# The fuzzers' entry points run over the kept corpus as tests; tests/fuzz/dictionary.c only has to keep up with the table.
FUZZ_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c)) $(BUILD)/tests/fuzz/dictionary
UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
HOST_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/host/test_*.c))

.PHONY: all deps test test-programs demo bench conv-trials fuzz asan install man clean layering help FORCE
all: $(BIN)/darknet

help:
	@echo 'make           $(BIN)/darknet and $(BUILD)/libprune.a'
	@echo 'make deps      install what is missing from Debian (no network when nothing is)'
	@echo 'make test      deps, build, every test; ends with "N passed, N failed"'
	@echo 'make demo      train, prune and run a small network (under 5 minutes)'
	@echo 'make bench     speed against the stock library, PyTorch and OpenCV (scripts/deps.sh -bench); ONLY="train/resnet20 hook": some rows'
	@echo 'make conv-trials  our convolutions against im2col + OpenBLAS and oneDNN (installs libdnnl-dev), a quarter of an hour'
	@echo 'make asan      the whole test run under AddressSanitizer and UBSan, in build/asan'
	@echo 'make fuzz      every fuzzer for FUZZ_SECONDS=$(FUZZ_SECONDS) s (needs clang: scripts/deps.sh -fuzz)'
	@echo 'make layering  the two laws of the house: includes go down, plugin/ knows no Darknet'
	@echo 'make install   PREFIX=$(PREFIX) DESTDIR=: bin/darknet, man page, licence'
	@echo 'make man       $(BUILD)/darknet-prune.1 from the help of every verb'
	@echo 'make clean     remove $(BUILD) and $(BIN)'
	@echo 'knobs: DARKNET=dir DEBUG=1 SAN=flags BUILD=dir BIN=dir JOBS=n V=1'

# Objects depend on this stamp, which changes with the flags: switching DARKNET=, DEBUG= or SAN= rebuilds.
FLAGS_TEXT = $(CC) $(CFLAGS) $(HOST_CFLAGS) $(HOST_LIBS) $(HOST_LATER)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS_TEXT)' | cmp -s - $@ || echo '$(FLAGS_TEXT)' > $@
# One clear sentence instead of a page of compiler errors when a header is missing.
$(BUILD)/headers: $(BUILD)/flags
	@printf '#include <darknet.h>\n#include <cblas.h>\n#include <lapacke.h>\n#include <cjson/cJSON.h>\n#include <xxhash.h>\n' | \
		$(CC) $(HOST_CFLAGS) -fsyntax-only -x c - >$@.log 2>&1 || \
		{ grep -m1 'error' $@.log; echo "a header is missing: run 'make deps'$(if $(DARKNET), and look at DARKNET=$(DARKNET))" >&2; exit 1; }
	@touch $@

$(BIN)/darknet: $(BUILD)/darknet/main.o $(HOST_OBJ) $(BUILD)/libprune.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  LD  $@')
	$(Q)$(CC) $(CFLAGS) -rdynamic -o $@ $(BUILD)/darknet/main.o $(HOST_OBJ) $(BUILD)/libprune.a $(filter-out -llapacke -lopenblas,$(PLUGIN_LIBS)) $(HOST_LATER)
$(BUILD)/libprune.a: $(PLUGIN_OBJ)
	$(if $(V),,@echo '  AR  $@')
	$(Q)rm -f $@ && ar rcs $@ $^
$(BUILD)/plugin/%.o: plugin/%.c $(BUILD)/flags | $(BUILD)/headers
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) $(DEPFLAGS) -c -o $@ $<
$(BUILD)/darknet/%.o: darknet/%.c $(BUILD)/flags | $(BUILD)/headers
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) $(DEPFLAGS) $(HOST_CFLAGS) -c -o $@ $<

# One file in tests/unit or tests/host is one program. -rdynamic lets our kernels replace the host's functions in tests as in bin/darknet.
$(BUILD)/tests/fuzz/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(BUILD)/libprune.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) -o $@ $< tests/fuzz/replay.c $(BUILD)/libprune.a $(PLUGIN_LIBS)
$(BUILD)/tests/fuzz/dictionary: tests/fuzz/dictionary.c $(BUILD)/libprune.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) -o $@ $< $(BUILD)/libprune.a $(PLUGIN_LIBS)
$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libprune.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) $(DEPFLAGS) -o $@ $< $(BUILD)/libprune.a -lcmocka $(PLUGIN_LIBS)
$(BUILD)/tests/host/%: tests/host/%.c $(HOST_OBJ) $(BUILD)/libprune.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) $(DEPFLAGS) $(HOST_CFLAGS) -rdynamic -o $@ $< $(HOST_OBJ) $(BUILD)/libprune.a -lcmocka $(PLUGIN_LIBS) $(HOST_LIBS)
# The reference interpreter (tests/reference) needs of plugin/ the cfg text reader, status, files and random numbers alone.
REFERENCE_SRC := $(filter-out tests/reference/test_%.c tests/reference/interpret.c,$(wildcard tests/reference/*.c))
REFERENCE_OBJ := $(REFERENCE_SRC:%.c=$(BUILD)/%.o)
REFERENCE_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/reference/test_*.c))
$(BUILD)/tests/reference/%.o: tests/reference/%.c $(BUILD)/flags | $(BUILD)/headers
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) $(DEPFLAGS) -c -o $@ $<
$(BUILD)/tests/reference/%: tests/reference/%.c $(REFERENCE_OBJ) $(BUILD)/libprune.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) $(DEPFLAGS) -o $@ $< $(REFERENCE_OBJ) $(BUILD)/libprune.a -lcmocka $(PLUGIN_LIBS)
$(BUILD)/tests/host/test_interpreter: $(REFERENCE_OBJ)
$(BUILD)/tests/host/test_interpreter: HOST_OBJ += $(REFERENCE_OBJ)
$(BIN)/render-data: tests/data/render.c $(BUILD)/libprune.a
	@mkdir -p $(@D) $(BUILD)/tests/data
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) -MMD -MP -MF $(BUILD)/tests/data/render.d -o $@ $< $(BUILD)/libprune.a -lpng $(PLUGIN_LIBS)
# Benchmarks: the same program on our kernels and on the stock library.
$(BUILD)/tests/bench/%: tests/bench/%.c $(HOST_OBJ) $(BUILD)/libprune.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) $(DEPFLAGS) $(HOST_CFLAGS) -rdynamic -o $@ $< $(HOST_OBJ) $(BUILD)/libprune.a $(PLUGIN_LIBS) $(HOST_LIBS)
$(BUILD)/tests/bench/%_stock: tests/bench/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $<')
	$(Q)$(CC) $(CFLAGS) $(DEPFLAGS) $(HOST_CFLAGS) -o $@ $< $(HOST_LIBS) -lm
# Convolution methods against each other; oneDNN takes part where its headers are.
TRIALS := $(wildcard tests/bench/conv_trials*.c)
ONEDNN = $(shell echo '\#include <dnnl.h>' | $(CC) -E -x c - >/dev/null 2>&1 && echo '-DHAVE_ONEDNN -ldnnl')
$(BUILD)/tests/bench/conv_trials: $(TRIALS) tests/bench/conv_trials.h $(HOST_OBJ) $(BUILD)/libprune.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $(TRIALS)')
	$(Q)$(CC) $(CFLAGS) $(HOST_CFLAGS) -rdynamic -o $@ $(TRIALS) $(HOST_OBJ) $(BUILD)/libprune.a $(ONEDNN) $(PLUGIN_LIBS) $(HOST_LIBS)
conv-trials:
	@scripts/deps.sh -onednn
	+@$(MAKE) --no-print-directory $(BUILD)/tests/bench/conv_trials
	@BUILD='$(BUILD)' tests/bench/conv_trials_run
test-programs: $(BIN)/darknet $(BIN)/render-data $(UNIT_TESTS) $(FUZZ_TESTS) $(HOST_TESTS) $(REFERENCE_TESTS) $(BUILD)/tests/reference/interpret

deps:
	@scripts/deps.sh
# Built with -k: a test that does not compile counts as one failed program, the others still run.
test: deps
	+@built=0; $(MAKE) --no-print-directory -k -j$(JOBS) test-programs || built=$$?; \
		BUILT=$$built BUILD='$(BUILD)' BIN='$(BIN)' SAN='$(SAN)' DARKNET_LIB='$(DARKNET_LIB)' tests/run
layering: $(BUILD)/libprune.a
	scripts/layering.sh -library $(BUILD)/libprune.a -host $(DARKNET_LIB)/libdarknet.so
asan:
	+@ASAN_OPTIONS='detect_leaks=1:abort_on_error=0' LSAN_OPTIONS='suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0' \
		UBSAN_OPTIONS='print_stacktrace=1' $(MAKE) --no-print-directory test BUILD=build/asan BIN=build/asan/bin \
		SAN='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
fuzz:
	@scripts/deps.sh -fuzz
	@scripts/fuzz.sh $(BUILD)/fuzz $(FUZZ_SECONDS)
demo: deps
	+@BIN='$(BIN)' scripts/demo.sh
BENCH_PROGRAMS := step_worker step_worker_stock infer_worker hook_worker sgemm_worker graph_scale
bench: $(BIN)/darknet $(BENCH_PROGRAMS:%=$(BUILD)/tests/bench/%)
	@BUILD='$(BUILD)' BIN='$(BIN)' /usr/bin/python3 tests/bench/bench.py $(ONLY)
man: $(BUILD)/darknet-prune.1
$(BUILD)/darknet-prune.1: $(BIN)/darknet scripts/man.sh
	scripts/man.sh $(BIN)/darknet > $@.part && mv $@.part $@
install: $(BIN)/darknet $(BUILD)/darknet-prune.1
	@BIN='$(BIN)' BUILD='$(BUILD)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh
clean:
	rm -rf $(BUILD) $(BIN)

-include $(PLUGIN_OBJ:=.d) $(HOST_OBJ:=.d) $(BUILD)/darknet/main.o.d $(UNIT_TESTS:=.d) $(HOST_TESTS:=.d) $(REFERENCE_TESTS:=.d) $(REFERENCE_OBJ:=.d) $(BUILD)/tests/reference/interpret.d $(BUILD)/tests/data/render.d
