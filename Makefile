# Haechi: collects Windows event logs from a fleet, keeps every event once, answers questions about any host.
#
#   make                  build the programs into build/release/
#   make demo             install what is missing, build, and show the whole path on loopback (KEEP=1, EVTX=FILE)
#   make test             install what is missing, build, run all tests (T=PATTERN runs a subset)
#   make unit | integration | fuzz | cross
#                         one kind of test only (T=PATTERN; FUZZ_TIME=20 seconds a target)
#   make windows          cross-build haechi-agent.exe into build/windows/ (SETUP=windows installs the tools)
#   make msi              its installer, build/windows/haechi-agent-VERSION.msi (SETUP=msi installs the tools); with SIGN_CERT=FILE
#                         and SIGN_KEY=FILE a signed one of a signed program, in build/windows/signed/ (deploy/windows/README.md)
#   make bench            build and run the benchmarks
#   make lint             clang-format, clang-tidy, cppcheck            make format   let clang-format rewrite
#   make layering         who may include what
#   make setup            install the packages that are missing (SETUP="build test windows wine msi lint")
#   make deps             only build the source dependencies (mbedTLS, yyjson, llhttp)
#   make install          programs, man pages, units, configuration (DESTDIR=, PREFIX=/usr/local, SYSCONFDIR=/etc)
#   make clean            remove the objects of all flavours, keep the dependencies
#   make help             this text
#
# Variables
#   SAN=address|thread    build with ASan and UBSan, or TSan, in a flavour of its own (build/address, build/thread)
#   BUILD=test            release plus named crash points and the test clock (-DHAECHI_TEST_HOOKS, as in SAN= flavours)
#   WERROR=1              warnings are errors            V=1   show the commands
#   BUILDROOT=DIR         where objects go (build); dependencies stay in DEPS=DIR (build/deps)
#   MBEDTLS_DIR=PREFIX    use an installed mbedTLS 3.6; MBEDTLS_TARBALL=, YYJSON_TARBALL=, LLHTTP_TARBALL=FILE a local source
#   HAECHI_SOURCES=DIR    a folder with the tarballs of all sources, where there is no Debian mirror
#   CC, CFLAGS, LDFLAGS, CLANG_VERSION, JOBS   as usual

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
SHELL := /bin/sh

VERSION := 0.1.0
comma := ,
space := $(subst ,, )

# ---- flavours -------------------------------------------------------------------------------------------------------

BUILDROOT ?= build
DEPS      ?= build/deps
BUILD     ?= $(or $(SAN),release)
OBJ       := $(BUILDROOT)/$(BUILD)
GEN       := $(OBJ)/gen

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
CLANG_VERSION ?= $(shell . /etc/os-release 2>/dev/null; case "$$ID$$VERSION_ID" in (debian13*) echo 19;; (ubuntu24*) echo 18;; (*) echo 14;; esac)
CLANG         ?= clang-$(CLANG_VERSION)
CLANG_FORMAT  ?= clang-format-$(CLANG_VERSION)
CLANG_TIDY    ?= clang-tidy-$(CLANG_VERSION)
MINGW         ?= x86_64-w64-mingw32-gcc

WARN := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wundef
STD  := -std=c11 -D_DEFAULT_SOURCE -D_POSIX_C_SOURCE=200809L
X86  := $(filter x86_64,$(shell uname -m))
HARD := -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 $(if $(X86),-fcf-protection)
LINK_HARD := -pie -Wl,-z,relro,-z,now,-z,noexecstack

# what gcc guesses wrong in instrumented or barely optimised code
WARN_SAN := -Wno-format-truncation -Wno-maybe-uninitialized
HOOKS := -DHAECHI_TEST_HOOKS
ifeq ($(BUILD),release)
  CFLAGS ?= -O2 -g
  FLAVOUR := $(HARD)
  LINK_FLAVOUR := $(LINK_HARD)
else ifeq ($(BUILD),test)
  CFLAGS ?= -O2 -g
  FLAVOUR := $(HARD) $(HOOKS)
  LINK_FLAVOUR := $(LINK_HARD)
else ifeq ($(BUILD),address)
  CFLAGS ?= -O1 -g
  FLAVOUR := -fsanitize=address,undefined $(WARN_SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer $(HOOKS)
  LINK_FLAVOUR := -fsanitize=address,undefined -pie
else ifeq ($(BUILD),thread)
  CFLAGS ?= -O1 -g
  FLAVOUR := -fsanitize=thread $(WARN_SAN) -fno-omit-frame-pointer $(HOOKS)
  LINK_FLAVOUR := -fsanitize=thread -pie
else ifeq ($(BUILD),fuzz)
  override CC := $(CLANG)
  CFLAGS ?= -O1 -g
  FLAVOUR := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer $(HOOKS) -DHAECHI_FUZZING
  LINK_FLAVOUR := -fsanitize=fuzzer-no-link,address,undefined -pie
else
  $(error unknown flavour "$(BUILD)": one of release, test, address, thread, fuzz)
endif
WERROR_FLAG := $(if $(filter-out 0,$(WERROR)),-Werror)
ALL_CFLAGS = $(STD) $(WARN) $(WERROR_FLAG) -fPIE -DHAECHI_VERSION='"$(VERSION)"' $(FLAVOUR) $(CFLAGS)

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-5s %s\n' $(1) $(2)
endif

# ---- sources, in the order in which data flows ----------------------------------------------------------------------

BASE := status slice buf arena list clock log conf file file_posix queue
PROTO := event fields msg batch frame tls conn
AGENT := source_evtlog source_evtx source_xml source_journal parse batcher spool uplink rules enroll facts keystore_posix \
         service_posix
STORAGE := keys db writer ledger packs runs compact blocks guids procs search cursor fleetdb
SERVER := conf listener session ingest digest fleet/ca fleet/tokens fleet/enrolment fleet/registry fleet/groups
SERVER_DIRS := server server/fleet server/rollout server/forward server/api server/console

# $(call sources,dirs,listed files): the listed ones that exist, then any others in the directories; programs' main.c and
# what only Windows compiles stay out.
sources = $(filter-out %/main.c %_win.c %/source_evtlog.c,$(wildcard $(2)) $(filter-out $(2),$(wildcard $(1:%=%/*.c))))

BASE_SRC    := $(call sources,proto/base,$(BASE:%=proto/base/%.c))
PROTO_SRC   := $(call sources,proto,$(PROTO:%=proto/%.c))
AGENT_SRC   := $(call sources,agent,$(AGENT:%=agent/%.c))
STORAGE_SRC := $(call sources,storage,$(STORAGE:%=storage/%.c))
RULES_SRC   := $(call sources,server/rules,)
SERVER_SRC  := $(call sources,$(SERVER_DIRS),$(SERVER:%=server/%.c))
CLI_SRC     := $(call sources,server/cli,)
LOAD_SRC    := $(call sources,tests/load,)
DICTS       := $(patsubst proto/dict/%.dict,$(GEN)/dict_%.c,$(wildcard proto/dict/*.dict))
GEN_SRC     := $(if $(wildcard proto/haechi.proto),$(GEN)/haechi.pb-c.c) $(DICTS)
API_GEN     := $(if $(wildcard server/api/openapi.json),$(GEN)/openapi_json.c)
GEN_HDR     := $(if $(wildcard proto/haechi.proto),$(GEN)/haechi.pb-c.h)
MAIN_SRC    := $(wildcard agent/main.c server/main.c server/cli/main.c tests/load/main.c)

LIBS := base proto agent storage rules server cli load
obj  = $(patsubst %.c,$(OBJ)/%.o,$(1))
base_OBJ    := $(call obj,$(BASE_SRC))
proto_OBJ   := $(call obj,$(PROTO_SRC)) $(GEN_SRC:%.c=%.o)
agent_OBJ   := $(call obj,$(AGENT_SRC))
storage_OBJ := $(call obj,$(STORAGE_SRC))
rules_OBJ   := $(call obj,$(RULES_SRC))
server_OBJ  := $(call obj,$(SERVER_SRC)) $(API_GEN:%.c=%.o)
cli_OBJ     := $(call obj,$(CLI_SRC))
load_OBJ    := $(call obj,$(LOAD_SRC))

# ---- what each directory sees ---------------------------------------------------------------------------------------
# base: itself. proto: base. agent and storage: below themselves, never each other. server: storage, proto, base.

see_base    := -Iproto/base
see_proto   := -Iproto -I$(GEN) $(see_base)
see_server  := $(SERVER_DIRS:%=-I%) -Iserver/rules
tls_inc      = -isystem $(MBEDTLS)/include $(TLS_DEF)
yyjson_inc   = -isystem $(YYJSON)/include
llhttp_inc   = -isystem $(LLHTTP)/include
everything   = $(see_server) -Iserver/cli -Istorage -Iagent $(see_proto) $(tls_inc) $(yyjson_inc) $(llhttp_inc)

INC_proto_base    = $(see_base)
INC_proto         = $(see_proto) $(tls_inc)
INC_agent         = -Iagent $(see_proto)
INC_storage       = -Istorage $(see_base)
INC_server        = $(see_server) -Istorage $(see_proto) $(yyjson_inc)
INC_server_fleet  = -Iserver/fleet $(INC_server) $(tls_inc)
INC_server_rules  = -Iserver/rules $(see_proto)
INC_server_rollout = -Iserver/rollout $(INC_server)
INC_server_forward = -Iserver/forward $(INC_server)
INC_server_api    = -Iserver/api $(INC_server) $(llhttp_inc)
INC_server_console = -Iserver/console $(INC_server)
INC_server_cli    = -Iserver/cli -Iagent $(INC_server)
INC_tests_load    = -Itests/load -Itests -Iagent $(see_proto) $(tls_inc)
INC_tests_unit    = -Itests/unit -Itests/fake -Itests $(everything)
INC_tests_fake    = -Itests/fake $(everything)
INC_tests_fuzz    = -Itests/fuzz -Itests/fake -Itests $(everything)
INC_tests_bench   = -Itests/bench -Itests/fake -Itests $(everything)
includes = $(INC_$(subst /,_,$(patsubst %/,%,$(dir $(1)))))

# ---- dependencies from source: built once, kept by version and recipe ------------------------------------------------

recipe := $(shell cat deploy/deps/build.sh deploy/deps/haechi_mbedtls.h | cksum | cut -d ' ' -f 1)
export MBEDTLS_TARBALL YYJSON_TARBALL LLHTTP_TARBALL
YYJSON := $(DEPS)/yyjson-0.10-$(recipe)
LLHTTP := $(DEPS)/llhttp-9.2-$(recipe)
ifneq ($(MBEDTLS_DIR),)
  MBEDTLS := $(MBEDTLS_DIR)
  TLS_DEF := $(if $(wildcard $(MBEDTLS_DIR)/include/haechi_mbedtls.h),-DMBEDTLS_CONFIG_FILE='"haechi_mbedtls.h"')
  DEP_STAMPS := $(YYJSON)/.done $(LLHTTP)/.done
else
  MBEDTLS := $(DEPS)/mbedtls-3.6-$(recipe)
  TLS_DEF := -DMBEDTLS_CONFIG_FILE='"haechi_mbedtls.h"'
  DEP_STAMPS := $(MBEDTLS)/.done $(YYJSON)/.done $(LLHTTP)/.done
endif

# mbedTLS by file name, so that a system's older one is never taken
TLS_LIB   := $(MBEDTLS)/lib/libmbedtls.a $(MBEDTLS)/lib/libmbedx509.a $(MBEDTLS)/lib/libmbedcrypto.a
SYS_LIBS  := $(YYJSON)/lib/libyyjson.a $(LLHTTP)/lib/libllhttp.a -Wl,--as-needed -luv -llmdb -lprotobuf-c -lzstd -lexpat -lxxhash -lcurl -lm -pthread
LINK = $(CC) $(LINK_FLAVOUR) $(CFLAGS) $(LDFLAGS)

# ---- programs -------------------------------------------------------------------------------------------------------

PROGRAMS := $(if $(wildcard server/main.c),haechid) $(if $(wildcard agent/main.c),haechi-agent) \
            $(if $(wildcard server/cli/main.c),haechi) $(if $(wildcard tests/load/main.c),haechi-load)
BENCHES  := $(patsubst tests/bench/%.c,%,$(wildcard tests/bench/bench_*.c))

.PHONY: all programs deps lib FORCE
all: programs lib
programs: $(PROGRAMS:%=$(OBJ)/%)
deps: $(DEP_STAMPS)
lib: $(LIBS:%=$(OBJ)/lib%.a)

haechid_LIBS      := server rules storage proto base
haechi-agent_LIBS := agent proto base
haechi_LIBS       := cli agent rules proto base
haechi-load_LIBS  := load agent proto base
haechid_MAIN      := server/main
haechi-agent_MAIN := agent/main
haechi_MAIN       := server/cli/main
haechi-load_MAIN  := tests/load/main

archives = $(patsubst %,$(OBJ)/lib%.a,$(1))
link_archives = -Wl,--start-group $(call archives,$(1)) -Wl,--end-group $(TLS_LIB) $(SYS_LIBS)

define program
$(OBJ)/$(1): $(OBJ)/$($(1)_MAIN).o $(call archives,$($(1)_LIBS)) $(OBJ)/flags
	$$(call say,LINK,$$@)
	$$(Q)$$(LINK) -o $$@ $(OBJ)/$($(1)_MAIN).o $$(call link_archives,$($(1)_LIBS))
endef
$(foreach p,haechid haechi-agent haechi haechi-load,$(eval $(call program,$(p))))

# An archive is made anew when its list of members changes, so that a deleted source does not live on.
define archive
$(OBJ)/lib$(1).list: FORCE
	@mkdir -p $$(@D); echo '$$($(1)_OBJ)' >$$@.tmp; cmp -s $$@.tmp $$@ && rm $$@.tmp || mv $$@.tmp $$@
$(OBJ)/lib$(1).a: $$($(1)_OBJ) $(OBJ)/lib$(1).list
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && $$(AR) rcsD $$@ $$($(1)_OBJ)
endef
$(foreach l,$(LIBS),$(eval $(call archive,$(l))))

$(OBJ)/flags: FORCE
	@mkdir -p $(@D); echo '$(CC) $(subst ','\'',$(ALL_CFLAGS)) $(LINK_FLAVOUR) $(LDFLAGS) $(recipe)' >$@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@

# One look for the packages, so that their absence is said in words.
$(BUILDROOT)/.packages:
	@mkdir -p $(@D)
	@printf '#include <%s>\n' uv.h lmdb.h protobuf-c/protobuf-c.h zstd.h expat.h xxhash.h | $(CC) -fsyntax-only -xc - 2>/dev/null && \
	    command -v protoc-c >/dev/null || { echo 'libraries are missing; "make setup" installs them (root or sudo)' >&2; exit 1; }
	@touch $@

$(OBJ)/%.o: %.c $(OBJ)/flags | $(BUILDROOT)/.packages $(DEP_STAMPS) $(GEN_HDR)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(if $(filter tests/unit/%,$<),-Wno-write-strings) $(call includes,$<) -MMD -MP -c $< -o $@

$(GEN)/%.o: $(GEN)/%.c $(OBJ)/flags
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -Wno-missing-braces -I$(GEN) -MMD -MP -c $< -o $@

$(GEN)/haechi.pb-c.c: proto/haechi.proto | $(BUILDROOT)/.packages
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)protoc-c --proto_path=proto --c_out=$(GEN) proto/haechi.proto
$(GEN)/haechi.pb-c.h: $(GEN)/haechi.pb-c.c ;

# A file becomes an array of its bytes: $(call embed,file,name).
define embed
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	@{ echo '#include <stddef.h>'; \
	   echo 'extern const unsigned char $(2)[];'; echo 'extern const size_t $(2)_len;'; \
	   echo 'const unsigned char $(2)[] = {'; \
	   od -An -v -tu1 -w32 $(1) | sed 's/  */,/g; s/^,//; s/$$/,/'; \
	   echo '};'; echo 'const size_t $(2)_len = sizeof $(2);'; } >$@
endef
# '-' in a dictionary's name becomes '_'
$(GEN)/dict_%.c: proto/dict/%.dict
	$(call embed,$<,dict_$(subst -,_,$*))
$(GEN)/openapi_json.c: server/api/openapi.json
	$(call embed,$<,openapi_json)

$(DEPS)/mbedtls-%/.done: ; @CC='$(CC)' AR='$(AR)' deploy/deps/build.sh mbedtls $(@D)
$(DEPS)/yyjson-%/.done:  ; @CC='$(CC)' AR='$(AR)' deploy/deps/build.sh yyjson $(@D)
$(DEPS)/llhttp-%/.done:  ; @CC='$(CC)' AR='$(AR)' deploy/deps/build.sh llhttp $(@D)

# ---- tests: programs ------------------------------------------------------------------------------------------------
# A unit test links the layers up to the one its module lives in, so that a broken layer above does not stop it; a test
# that is named after no module links everything. Comment lines in a test say otherwise: "// links: storage proto base"
# names the layers, "// link: -Wl,--wrap=fsync" adds to the link command. An argv made of literals is fine in a test.

UNIT       := $(patsubst tests/unit/%.c,%,$(filter-out %_win.c,$(wildcard tests/unit/test_*.c)))
FUZZERS    := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
# Tests with threads in them: these run under TSan as well.
TSAN_TESTS := queue log clock conn tls db writer writer_disk writer_kill procs fleetdb ingest digest listener rollout session fleet rulebook simulate uplink wire agent_io feeder api live

FAKE_OBJ   := $(call obj,$(wildcard tests/fake/*.c))
layers_of = $(or $(shell sed -n 's|.*// links: *||p' $(2) | head -n 1),\
  $(if $(wildcard proto/base/$(1).c)$(filter base,$(1)),base,\
  $(if $(wildcard proto/$(1).c)$(filter proto,$(1)),proto base,\
  $(if $(wildcard agent/$(1).c)$(filter agent,$(1)),agent proto base,\
  $(if $(wildcard storage/$(1).c)$(filter storage,$(1)),storage proto base,\
  $(if $(wildcard server/rules/$(1).c),rules proto base,\
  $(if $(wildcard server/cli/$(1).c),cli agent rules proto base,\
  cli server rules agent storage proto base)))))))

define unit_program
$(1)_LIBS := $(call layers_of,$(1:test_%=%),tests/unit/$(1).c)
$(OBJ)/$(1): $(OBJ)/tests/unit/$(1).o $(FAKE_OBJ) $$(call archives,$$($(1)_LIBS)) $(OBJ)/flags
	$$(call say,LINK,$$@)
	$$(Q)$$(LINK) -o $$@ $(OBJ)/tests/unit/$(1).o $(FAKE_OBJ) $$(call link_archives,$$($(1)_LIBS)) -lcmocka \
	    $(shell sed -n 's|.*// link: *||p' tests/unit/$(1).c | head -n 1)
endef
$(foreach t,$(UNIT),$(eval $(call unit_program,$(t))))

define fuzz_program
$(1)_LIBS := $(call layers_of,$(1:fuzz_%=%),tests/fuzz/$(1).c)
$(OBJ)/$(1): $(OBJ)/tests/fuzz/$(1).o $$(call archives,$$($(1)_LIBS)) $(OBJ)/flags
	$$(call say,LINK,$$@)
	$$(Q)$$(LINK) -fsanitize=fuzzer -o $$@ $(OBJ)/tests/fuzz/$(1).o $$(call link_archives,$$($(1)_LIBS))
endef
$(foreach t,$(FUZZERS),$(eval $(call fuzz_program,$(t))))

define bench_program
$(OBJ)/$(1): $(OBJ)/tests/bench/$(1).o $$(call archives,cli server rules agent storage proto base) $(OBJ)/flags
	$$(call say,LINK,$$@)
	$$(Q)$$(LINK) -o $$@ $(OBJ)/tests/bench/$(1).o $$(call link_archives,cli server rules agent storage proto base)
endef
$(foreach t,$(BENCHES),$(eval $(call bench_program,$(t))))

# T=PATTERN without wildcards builds only the tests that it selects.
chosen = $(if $(or $(findstring *,$(T)),$(findstring ?,$(T)),$(findstring [,$(T))),$(2),$(foreach t,$(2),$(if $(findstring $(T),$(1)/$(t)),$(t))))
select = $(if $(T),$(call chosen,$(1),$(2)),$(2))
.PHONY: unit-programs tsan-programs fuzz-programs bench-programs
unit-programs: $(patsubst %,$(OBJ)/%,$(call select,unit,$(UNIT)))
tsan-programs: $(patsubst %,$(OBJ)/%,$(call select,tsan,$(filter $(TSAN_TESTS:%=test_%),$(UNIT))))
fuzz-programs: $(patsubst %,$(OBJ)/%,$(call select,fuzz,$(FUZZERS)))
bench-programs: $(BENCHES:%=$(OBJ)/%)

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)

# ---- the agent's files compiled for Windows, but those for POSIX ----------------------------------------------------

CROSS_SRC := $(filter-out %_posix.c,$(BASE_SRC) $(PROTO_SRC) $(AGENT_SRC) $(wildcard agent/main.c)) \
             $(wildcard proto/base/*_win.c proto/*_win.c agent/*_win.c agent/source_evtlog.c) $(GEN_SRC)
CROSS     := $(BUILDROOT)/cross
CROSS_FLAGS = $(STD) $(WARN) $(WARN_SAN) -Werror -O1 -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 -DHAECHI_VERSION='"$(VERSION)"' \
              -isystem $(CROSS)/include
.PHONY: cross
cross: $(patsubst %.c,$(CROSS)/%.o,$(CROSS_SRC:$(OBJ)/%=%))
$(CROSS)/include/.done:
	@mkdir -p $(@D)
	@for h in uv.h uv zstd.h zstd_errors.h zdict.h expat.h expat_external.h xxhash.h protobuf-c; do \
	    [ ! -e /usr/include/$$h ] || ln -sfn /usr/include/$$h $(@D)/$$h; done; touch $@
$(CROSS)/gen/%.o: $(GEN)/%.c $(CROSS)/include/.done
	$(call say,CROSS,$<)
	@mkdir -p $(@D)
	$(Q)$(MINGW) $(CROSS_FLAGS) -Wno-missing-braces -I$(GEN) -MMD -MP -c $< -o $@
$(CROSS)/%.o: %.c $(CROSS)/include/.done | $(DEP_STAMPS) $(GEN_HDR)
	$(call say,CROSS,$<)
	@mkdir -p $(@D)
	$(Q)$(MINGW) $(CROSS_FLAGS) $(call includes,$<) -MMD -MP -c $< -o $@
-include $(shell find $(CROSS) -name '*.d' 2>/dev/null)

# ---- the Windows agent: one file, from pinned sources; the same bytes in every folder ---------------------------------
# -fdata-sections stays away: on this target zeroed arrays would lie in the file. The program is optimised as a whole, libraries
# too, which makes it a quarter smaller; the many programs of the tests are not, which would take minutes.

MINGW_AR      ?= $(MINGW:%gcc=%gcc-ar)
MINGW_WINDRES ?= $(MINGW:%gcc=%windres)
MINGW_WINDMC  ?= $(MINGW:%gcc=%windmc)
WINDOWS_DEPS  ?= $(DEPS)/windows-$(shell cat deploy/deps/windows.sh deploy/deps/fetch.sh deploy/deps/haechi_mbedtls.h | cksum | cut -d ' ' -f 1)
WINDOWS_HOOKS ?=# of the tests' build
WINDOWS       := $(BUILDROOT)/windows$(if $(WINDOWS_HOOKS),-test)
WINDOWS_SRC   := $(filter %.c,$(CROSS_SRC:$(OBJ)/%=%))
WINDOWS_OBJ   := $(WINDOWS_SRC:%.c=$(WINDOWS)/%.o)
WINDOWS_LTO   := $(if $(WINDOWS_HOOKS),-fno-lto,-flto -flto-partition=none)
# Small, but for what every event goes through.
WINDOWS_FAST  := agent/source_evtlog agent/evtlog_text agent/parse agent/parse_fast agent/parse_build agent/batcher proto/base/buf \
                 proto/base/text proto/batch_build proto/event proto/event_value agent/feeder_in agent/feeder_out agent/spool agent/spool_entry \
                 agent/uplink_stream proto/base/arena proto/base/clock proto/base/crc32 proto/base/guid proto/event_facts proto/fields
WINDOWS_FLAGS = $(STD) $(WARN) $(WARN_SAN) -Werror -Os $(WINDOWS_LTO) -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 -DHAECHI_VERSION='"$(VERSION)"' \
                -ffunction-sections -fno-ident -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
                -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(BUILDROOT)=build -DXML_STATIC $(WINDOWS_HOOKS) -isystem $(WINDOWS_DEPS)/include
WINDOWS_LIBS  = -L$(WINDOWS_DEPS)/lib -lmbedtls -luv -lzstd -lprotobuf-c -lexpat -lxxhash -lwevtapi -lcrypt32 -lws2_32 -liphlpapi \
                -luserenv -lole32 -ldbghelp -lshell32 -luser32 -ladvapi32 -lbcrypt
WINDOWS_LINK  = $(MINGW) -Os $(WINDOWS_LTO) -static -s -fstack-protector-strong -Wl,--gc-sections -Wl,--no-insert-timestamp

.PHONY: windows
windows: $(WINDOWS)/haechi-agent.exe
$(WINDOWS)/flags: FORCE
	@mkdir -p $(@D); echo '$(MINGW) $(subst ','\'',$(WINDOWS_FLAGS)) $(WINDOWS_LINK) $(WINDOWS_FAST)' >$@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@
$(WINDOWS_FAST:%=$(WINDOWS)/%.o): private WINDOWS_FLAGS += -O2
$(WINDOWS_DEPS)/.done: ; @CC='$(MINGW)' AR='$(MINGW_AR)' deploy/deps/windows.sh $(@D)
$(WINDOWS)/gen/%.o: $(GEN)/%.c $(WINDOWS)/flags $(WINDOWS_DEPS)/.done
	$(call say,WIN,$<)
	@mkdir -p $(@D)
	$(Q)$(MINGW) $(WINDOWS_FLAGS) -Wno-missing-braces -I$(GEN) -MMD -MP -c $< -o $@
$(WINDOWS)/%.o: %.c $(WINDOWS)/flags $(WINDOWS_DEPS)/.done | $(GEN_HDR)
	$(call say,WIN,$<)
	@mkdir -p $(@D)
	$(Q)$(MINGW) $(WINDOWS_FLAGS) $(subst -isystem $(MBEDTLS)/include,,$(call includes,$<)) $(TLS_DEF) -MMD -MP -c $< -o $@
$(WINDOWS)/messages.rc: deploy/windows/messages.mc
	@mkdir -p $(@D)
	$(Q)$(MINGW_WINDMC) -b -h $(@D) -r $(@D) $<
$(WINDOWS)/agent.res: deploy/windows/agent.rc deploy/windows/agent.manifest $(WINDOWS)/messages.rc
	$(call say,RC,$<)
	$(Q)cat deploy/windows/agent.rc $(WINDOWS)/messages.rc >$(WINDOWS)/all.rc
	$(Q)$(MINGW_WINDRES) -Ideploy/windows -I$(WINDOWS) '-DVERSION_TEXT=\"$(VERSION)\"' \
	    -DVERSION_NUMBERS=$(subst $(space),$(comma),$(subst ., ,$(VERSION))),0 -O coff $(WINDOWS)/all.rc -o $@
$(WINDOWS)/libagent.a: $(filter-out $(WINDOWS)/agent/main.o,$(WINDOWS_OBJ)) $(GEN_SRC:$(GEN)/%.c=$(WINDOWS)/gen/%.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(MINGW_AR) crD $@ $^
$(WINDOWS)/haechi-agent.exe: $(WINDOWS)/agent/main.o $(WINDOWS)/libagent.a $(WINDOWS)/agent.res
	$(call say,LINK,$@)
	$(Q)$(WINDOWS_LINK) -o $@ $^ $(WINDOWS_LIBS)
-include $(shell find $(WINDOWS) -name '*.d' 2>/dev/null)

# The installer: the program, and a library of what its tables cannot do, which links only what it needs. Its base is named, or the
# linker makes one of the name of the file.
SETUP_LIBS = -L$(WINDOWS_DEPS)/lib -lmsi -lole32 -lshell32 -ladvapi32
MSI := haechi-agent-$(VERSION).msi
.PHONY: msi
msi: $(WINDOWS)/$(if $(SIGN_CERT),signed/)$(MSI)
$(WINDOWS)/haechi-setup.dll: $(WINDOWS)/agent/setup_win.o $(WINDOWS)/libagent.a
	$(call say,LINK,$@)
	$(Q)$(WINDOWS_LINK) -shared -Wl,--image-base=0x180000000 -o $@ $^ $(SETUP_LIBS)
$(WINDOWS)/$(MSI): $(WINDOWS)/haechi-agent.exe $(WINDOWS)/haechi-setup.dll deploy/windows/haechi-agent.wxs deploy/windows/msi.sh
	$(call say,MSI,$@)
	$(Q)deploy/windows/msi.sh $(WINDOWS)/haechi-agent.exe $(WINDOWS)/haechi-setup.dll $(VERSION) $@
# Signatures carry a time: these are made anew each time, and the folder of the unsigned files stays as it is.
export SIGN_CERT SIGN_KEY SIGN_OPTIONS
$(WINDOWS)/signed/$(MSI): $(WINDOWS)/$(MSI) FORCE
	$(call say,SIGN,$@)
	@mkdir -p $(@D) && rm -f $@
	$(Q)deploy/windows/sign.sh $(WINDOWS)/haechi-agent.exe $(@D)/haechi-agent.exe
	$(Q)deploy/windows/sign.sh $(WINDOWS)/haechi-setup.dll $(@D)/haechi-setup.dll
	$(Q)deploy/windows/msi.sh $(@D)/haechi-agent.exe $(@D)/haechi-setup.dll $(VERSION) $(@D)/unsigned.msi
	$(Q)deploy/windows/sign.sh $(@D)/unsigned.msi $@ && rm $(@D)/unsigned.msi

# The unit tests and the kept fuzz corpora of what is not bound to POSIX, as Windows programs, with test hooks.
WINDOWS_UNIT := $(patsubst tests/unit/test_%.c,%,$(wildcard tests/unit/test_*_win.c)) args base batch batch_lies batcher conf enroll event \
                event_pick evtlog_policy evtlog_text feeder filehash frame gaps msg parse progress queue rules_kept setup spool \
                sysmon sysmon_words token uplink
WINDOWS_FUZZ := batch conf event event_pick evtlog_text evtx frame journal msg parse rules_kept setup spool sysmon_words token
.PHONY: windows-tests windows-test-programs
windows-tests:
	+@$(MAKE) --no-print-directory WINDOWS_HOOKS=$(HOOKS) windows windows-test-programs
windows-test-programs: $(WINDOWS_UNIT:%=$(WINDOWS)/test_%.exe) $(WINDOWS_FUZZ:%=$(WINDOWS)/fuzz_%.exe)
$(WINDOWS)/tests/unit/%.o: WARN += -Wno-write-strings
$(WINDOWS)/test_%.exe: $(WINDOWS)/tests/unit/test_%.o $(WINDOWS)/libagent.a
	$(call say,LINK,$@)
	$(Q)$(WINDOWS_LINK) -o $@ $^ $(WINDOWS_LIBS) -lcmocka
$(WINDOWS)/fuzz_%.exe: $(WINDOWS)/tests/fuzz/fuzz_%.o $(WINDOWS)/tests/fuzz/replay.o $(WINDOWS)/libagent.a
	$(call say,LINK,$@)
	$(Q)$(WINDOWS_LINK) -o $@ $^ $(WINDOWS_LIBS)

# ---- running ---------------------------------------------------------------------------------------------------------

SETUP     ?= build test wine msi
FUZZ_TIME ?= 20
RUN = tests/run --build $(BUILDROOT) --fuzz-time $(FUZZ_TIME) --tsan '$(TSAN_TESTS)' $(if $(T),--filter '$(T)')
JOBS      ?= $(shell nproc 2>/dev/null || echo 2)
again = +@$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

.PHONY: test unit integration fuzz demo bench lint lint-format lint-tidy lint-cppcheck format layering setup install clean help
setup:
	@deploy/deps/setup.sh $(SETUP)

# What does not build counts as a failed test; the rest still runs.
attempt = || echo '$(1)' >>$(BUILDROOT)/.broken
test: setup
	@mkdir -p $(BUILDROOT) && rm -f $(BUILDROOT)/.broken
	$(again) -k BUILD=release programs $(call attempt,release: programs)
	$(again) -k BUILD=test programs $(call attempt,test: programs)
	$(again) -k BUILD=address programs unit-programs $(call attempt,address: programs or unit tests)
	$(again) -k BUILD=thread tsan-programs $(call attempt,thread: unit tests)
	$(again) -k BUILD=fuzz fuzz-programs $(call attempt,fuzz: fuzz targets)
	$(again) -k BUILD=release windows windows-tests msi $(call attempt,windows: haechi-agent.exe$(comma) its tests or its installer)
	@$(RUN) --make '$(MAKE)' build layering cross man unit tsan integration fuzz

unit:
	$(again) BUILD=address unit-programs
	$(again) BUILD=thread tsan-programs
	@$(RUN) unit tsan

integration:
	$(again) BUILD=test programs
	$(again) BUILD=address programs
	$(again) BUILD=release windows windows-tests msi
	@$(RUN) integration

fuzz:
	$(again) BUILD=fuzz fuzz-programs
	@$(RUN) fuzz

demo:
	@deploy/deps/setup.sh build
	$(again) BUILD=release programs
	@HAECHI_BIN='$(BUILDROOT)/release' KEEP='$(KEEP)' EVTX='$(EVTX)' deploy/demo.sh

bench:
	$(again) BUILD=release programs bench-programs
	@for b in $(BENCHES); do echo "== $$b"; $(BUILDROOT)/release/$$b || exit 1; done
	@for b in $(wildcard tests/bench/*.sh); do echo "== $$b"; HAECHI_BIN='$(BUILDROOT)/release' $$b || exit 1; done

OUR_C   = $(BASE_SRC) $(PROTO_SRC) $(AGENT_SRC) $(STORAGE_SRC) $(RULES_SRC) $(SERVER_SRC) $(CLI_SRC) $(LOAD_SRC) $(MAIN_SRC)
ALL_OUR := $(shell find proto agent storage server tests -name '*.[ch]' 2>/dev/null)
WINDOWS_C := $(wildcard proto/base/*_win.c proto/*_win.c agent/*_win.c agent/source_evtlog.c)
TIDY    = $(OUR_C:%.c=$(OBJ)/tidy/%.ok) $(if $(MINGW_INCLUDE),$(WINDOWS_C:%.c=$(OBJ)/tidy/%.ok))
# what only Windows compiles, as clang sees it with the headers of the cross tools; cppcheck needs none
MINGW_INCLUDE := $(firstword $(wildcard /usr/share/mingw-w64/include /usr/x86_64-w64-mingw32/include))
AS_WINDOWS     = -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1
$(WINDOWS_C:%.c=$(OBJ)/tidy/%.ok): tidy_target = --target=x86_64-w64-mingw32 $(AS_WINDOWS) -isystem $(MINGW_INCLUDE)
lint:
	@deploy/deps/setup.sh build lint
	$(again) BUILD=release deps $(GEN_HDR)
	$(again) -k BUILD=release lint-format lint-tidy lint-cppcheck

lint-format:
	$(CLANG_FORMAT) --dry-run -Werror $(ALL_OUR)
lint-tidy: $(TIDY)
$(OBJ)/tidy/%.ok: %.c $(filter %.h,$(ALL_OUR)) .clang-tidy
	$(call say,TIDY,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG_TIDY) --quiet $< -- $(tidy_target) $(STD) $(call includes,$<) -DHAECHI_VERSION='"$(VERSION)"' 2>/dev/null && touch $@
lint-cppcheck:
	cppcheck --quiet --std=c11 --inline-suppr --error-exitcode=1 --enable=warning,performance,portability \
	    --suppress=missingIncludeSystem --suppress=shiftTooManyBitsSigned --library=tests/cppcheck.cfg -j2 $(see_server) -Iserver/cli -Istorage -Iagent \
	    $(filter-out -I$(GEN),$(see_proto)) -DHAECHI_VERSION='"x"' $(OUR_C)
	cppcheck --quiet --std=c11 --inline-suppr --error-exitcode=1 --enable=warning,performance,portability \
	    --suppress=missingIncludeSystem --platform=win64 --library=windows --library=tests/cppcheck.cfg -D_WIN32 $(AS_WINDOWS) -Iagent \
	    $(filter-out -I$(GEN),$(see_proto)) -DHAECHI_VERSION='"x"' $(WINDOWS_C)

format:
	$(CLANG_FORMAT) -i $(ALL_OUR)

layering:
	@tests/layering

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
COMPLETIONS = $(PREFIX)/share/bash-completion/completions
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(addprefix $(DESTDIR)$(PREFIX)/share/man/,man1 man7 man8) \
	    $(DESTDIR)$(COMPLETIONS) $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/doc/haechi \
	    $(DESTDIR)$(SYSCONFDIR)/haechi $(DESTDIR)$(SYSCONFDIR)/sysusers.d
	install -m 755 $(OBJ)/haechi $(wildcard $(OBJ)/haechi-load) $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(OBJ)/haechid $(OBJ)/haechi-agent $(DESTDIR)$(PREFIX)/sbin/
	for f in $(wildcard deploy/man/*.1); do install -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man1/; done
	for f in $(wildcard deploy/man/*.7); do install -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man7/; done
	for f in $(wildcard deploy/man/*.8); do install -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man8/; done
	install -m 644 deploy/completion/haechi.bash $(DESTDIR)$(COMPLETIONS)/haechi
	for p in haechid haechi-agent haechi-load; do ln -sf haechi $(DESTDIR)$(COMPLETIONS)/$$p; done
	for f in $(wildcard deploy/systemd/*); do sed 's|@PREFIX@|$(PREFIX)|g' $$f >$(DESTDIR)$(PREFIX)/lib/systemd/system/$${f##*/}; done
	install -m 644 deploy/sysusers/haechi.conf $(DESTDIR)$(SYSCONFDIR)/sysusers.d/
	for f in $(wildcard deploy/conf/*); do \
	    [ -e $(DESTDIR)$(SYSCONFDIR)/haechi/$${f##*/} ] || install -m 644 $$f $(DESTDIR)$(SYSCONFDIR)/haechi/; done
	install -m 644 LICENSE README.md $(wildcard proto/dict/LICENSE.*) $(DESTDIR)$(PREFIX)/share/doc/haechi/

clean:
	rm -rf $(foreach f,release test address thread fuzz cross windows windows-test test-logs,$(BUILDROOT)/$(f))

help:
	@sed -n '/^[^#]/q; s/^# \{0,1\}//p' Makefile
