#include "kernels/cuda/emulation.h"

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <bit>
#include <csetjmp>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <unordered_map>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace anact::kernels::cuda {

emulation::Index threadIdx;
emulation::Index blockIdx;
emulation::Index gridDim;

namespace emulation {
namespace {

constexpr std::uint32_t kWarp = 32;
constexpr std::size_t kStackBytes = std::size_t{128} << 10;
constexpr std::size_t kSharedBytes = 4096;
constexpr std::size_t kResident = 4;
constexpr std::size_t kMostErrors = 8;

enum class Stop : std::uint8_t { none, barrier, shuffle, done };

// What a thread had done when it let go of it by a fence: its own accesses up to `sequence`, and those of its block
// before `epoch`.
struct Release {
  std::uint64_t sequence = 0;
  std::uint32_t epoch = 0;
};
// By block and thread.
using Releases = std::map<std::pair<std::uint32_t, std::uint32_t>, Release>;

void join(Releases& into, const Releases& from) {
  for (const auto& [who, release] : from) {
    Release& joined = into[who];
    joined.sequence = std::max(joined.sequence, release.sequence);
    joined.epoch = std::max(joined.epoch, release.epoch);
  }
}

struct Block;

// A fibre, which runs one thread after another.
struct Thread {
  ucontext_t start{};
  std::jmp_buf context{};
  std::unique_ptr<char[]> stack;
  bool started = false;
  Stop stop = Stop::done;

  Block* block = nullptr;
  std::uint32_t index = 0;
  std::uint64_t sequence = 0;
  int barriers = 0;
  int fences = 0;
  std::array<std::uint64_t, 2> handed{};
  std::uint32_t shuffles = 0;
  Releases released;  // by its last fence
  Releases pending;   // taken by an atomic, and in force after the next fence
  Releases acquired;
};

struct Access {
  std::uint32_t block = 0;
  std::uint32_t thread = 0;
  std::uint32_t stream = 0;
  std::uint32_t launch = 0;
  std::uint32_t epoch = 0;
  std::uint64_t sequence = 0;
};

struct Place {
  std::optional<Access> write;
  std::unordered_map<std::uint64_t, Access> reads;  // since then, the latest of each thread
};

struct Block {
  std::uint32_t id = 0;  // unique in a run
  std::uint32_t index = 0;
  std::uint32_t grid = 0;
  std::uint32_t stream = 0;
  std::uint32_t launch = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<std::unique_ptr<Thread>> threads;
  std::uint32_t size = 0;
  std::uint32_t epoch = 0;
  Releases acquired;
  alignas(64) std::array<unsigned char, kSharedBytes> shared{};
  std::unordered_map<const void*, Place> shared_places;
};

struct Machine {
  std::mt19937 generator;
  Mutation mutation;
  Report report;
  std::unordered_map<const void*, Place> places;
  std::unordered_map<const void*, Releases> atomics;
  Thread* current = nullptr;
  std::jmp_buf scheduler{};
  ucontext_t scheduler_start{};
#ifdef __SANITIZE_ADDRESS__
  const void* scheduler_stack = nullptr;
  std::size_t scheduler_stack_size = 0;
#endif
};

Machine machine;

// Kept from run to run: making a fibre costs more than what it does.
std::array<Block, kResident> slots;

void fail(const std::string& what) {
  auto& errors = machine.report.errors;
  if (errors.size() < kMostErrors && std::find(errors.begin(), errors.end(), what) == errors.end()) {
    errors.push_back(what);
  }
}

// ---- Fibres --------------------------------------------------------------------------------------------------------
// swapcontext asks the kernel for the signal mask at each switch; setjmp and longjmp do not.

#ifdef __SANITIZE_ADDRESS__
void to_scheduler(Thread& thread) {
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, machine.scheduler_stack, machine.scheduler_stack_size);
  swapcontext(&thread.start, &machine.scheduler_start);
  __sanitizer_finish_switch_fiber(fake, &machine.scheduler_stack, &machine.scheduler_stack_size);
}
#else
void to_scheduler(Thread& thread) {
  if (_setjmp(thread.context) == 0) _longjmp(machine.scheduler, 1);
}
#endif

void stop(Stop why) {
  Thread& thread = *machine.current;
  thread.stop = why;
  to_scheduler(thread);
}

void fibre() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &machine.scheduler_stack, &machine.scheduler_stack_size);
#endif
  for (;;) {
    (*machine.current->block->kernel)();
    stop(Stop::done);
  }
}

#ifdef __SANITIZE_ADDRESS__
void to_thread(Thread& thread) {
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, thread.stack.get(), kStackBytes);
  swapcontext(&machine.scheduler_start, &thread.start);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}
#else
void to_thread(Thread& thread) {
  if (_setjmp(machine.scheduler) != 0) return;
  if (thread.started) _longjmp(thread.context, 1);
  thread.started = true;
  setcontext(&thread.start);
}
#endif

void go_on(Thread& thread) {
  machine.current = &thread;
  threadIdx.x = thread.index;
  blockIdx.x = thread.block->index;
  gridDim.x = thread.block->grid;
  thread.stop = Stop::none;
  to_thread(thread);
}

std::unique_ptr<Thread> make_thread() {
  auto thread = std::make_unique<Thread>();
  thread->stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  getcontext(&thread->start);
  thread->start.uc_stack.ss_sp = thread->stack.get();
  thread->start.uc_stack.ss_size = kStackBytes;
  thread->start.uc_link = nullptr;
  makecontext(&thread->start, &fibre, 0);
  return thread;
}

// ---- Order ---------------------------------------------------------------------------------------------------------

bool covers(const Releases& releases, const Access& access) {
  for (auto at = releases.lower_bound({access.block, 0}); at != releases.end() && at->first.first == access.block;
       ++at) {
    if (access.epoch < at->second.epoch) return true;
    if (access.thread == at->first.second && access.sequence <= at->second.sequence) return true;
  }
  return false;
}

bool happened_before(const Access& access, const Thread& me) {
  const Block& block = *me.block;
  if (access.block == block.id) return access.thread == me.index || access.epoch < block.epoch;
  if (access.stream == block.stream && access.launch < block.launch) return true;
  return covers(block.acquired, access) || covers(me.acquired, access);
}

bool is_shared(const void* place) {
  const auto* at = static_cast<const unsigned char*>(place);
  const auto& shared = machine.current->block->shared;
  return shared.data() <= at && at < shared.data() + shared.size();
}

Place& state_of(const void* place) {
  return is_shared(place) ? machine.current->block->shared_places[place] : machine.places[place];
}

Access access_now() {
  Thread& me = *machine.current;
  const Block& block = *me.block;
  return {block.id, me.index, block.stream, block.launch, block.epoch, ++me.sequence};
}

void check(const Access& earlier, const void* place, const char* what) {
  if (happened_before(earlier, *machine.current)) return;
  fail(std::string(what) + (is_shared(place) ? " in shared memory" : " in global memory"));
}

// ---- The schedule --------------------------------------------------------------------------------------------------

void start(Block& block, const Launch& launch, std::uint32_t id, std::uint32_t index, std::uint32_t stream,
           std::uint32_t launch_number) {
  block.id = id;
  block.index = index;
  block.grid = launch.grid;
  block.stream = stream;
  block.launch = launch_number;
  block.kernel = &launch.kernel;
  block.size = launch.block;
  block.epoch = 0;
  block.acquired.clear();
  // What shared memory holds at first is anybody's guess.
  block.shared.fill(0xFF);
  block.shared_places.clear();
  while (block.threads.size() < block.size) block.threads.push_back(make_thread());
  for (std::uint32_t i = 0; i < block.size; ++i) {
    Thread& thread = *block.threads[i];
    thread.stop = Stop::none;
    thread.block = &block;
    thread.index = i;
    thread.sequence = 0;
    thread.barriers = thread.fences = 0;
    thread.shuffles = 0;
    thread.released.clear();
    thread.pending.clear();
    thread.acquired.clear();
  }
}

bool all_at(const Block& block, std::uint32_t first, std::uint32_t count, Stop where) {
  for (std::uint32_t i = first; i < first + count; ++i) {
    if (block.threads[i]->stop != where) return false;
  }
  return true;
}

enum class Turn : std::uint8_t { moved, ended, stuck };

// Lets every thread of the block that can go on do so, in some order.
Turn take_turn(Block& block) {
  const std::uint32_t offset = machine.generator();
  const std::uint32_t step = machine.generator() | 1;
  bool moved = false;
  for (std::uint32_t i = 0; i < block.size; ++i) {
    // An order of its own for each power of two; any other size goes in turn from somewhere.
    const bool shuffles = std::has_single_bit(block.size);
    Thread& thread = *block.threads[(shuffles ? i * step + offset : i + offset % block.size) % block.size];
    if (thread.stop != Stop::none) continue;
    go_on(thread);
    moved = true;
  }
  for (std::uint32_t warp = 0; warp + kWarp <= block.size; warp += kWarp) {
    if (!all_at(block, warp, kWarp, Stop::shuffle)) continue;
    for (std::uint32_t i = warp; i < warp + kWarp; ++i) block.threads[i]->stop = Stop::none;
    moved = true;
  }
  if (all_at(block, 0, block.size, Stop::barrier)) {
    ++block.epoch;
    for (std::uint32_t i = 0; i < block.size; ++i) {
      block.threads[i]->stop = Stop::none;
      join(block.acquired, block.threads[i]->acquired);
    }
    moved = true;
  }
  if (all_at(block, 0, block.size, Stop::done)) return Turn::ended;
  return moved ? Turn::moved : Turn::stuck;
}

struct Stream {
  std::uint32_t launch = 0;
  std::vector<std::uint32_t> waiting;  // blocks
  std::size_t running = 0;
};

void queue_blocks(Stream& stream, const std::vector<Launch>& launches) {
  if (stream.launch == launches.size()) return;
  stream.waiting.resize(launches[stream.launch].grid);
  for (std::uint32_t i = 0; i < stream.waiting.size(); ++i) stream.waiting[i] = i;
  std::shuffle(stream.waiting.begin(), stream.waiting.end(), machine.generator);
}

}  // namespace

Report run(const std::vector<std::vector<Launch>>& launches, std::uint32_t seed, const Mutation& mutation) {
  machine.generator.seed(seed);
  machine.mutation = mutation;
  machine.report = {};
  machine.places.clear();
  machine.atomics.clear();
  std::vector<Stream> streams(launches.size());
  for (std::size_t i = 0; i < streams.size(); ++i) queue_blocks(streams[i], launches[i]);
  std::vector<Block*> resident;
  std::vector<Block*> unused;
  for (Block& slot : slots) unused.push_back(&slot);
  std::uint32_t id = 0;
  for (;;) {
    while (!unused.empty()) {
      std::vector<std::uint32_t> ready;
      for (std::uint32_t i = 0; i < streams.size(); ++i) {
        if (!streams[i].waiting.empty()) ready.push_back(i);
      }
      if (ready.empty()) break;
      const std::uint32_t chosen = ready[machine.generator() % ready.size()];
      Stream& stream = streams[chosen];
      Block& block = *unused.back();
      start(block, launches[chosen][stream.launch], id++, stream.waiting.back(), chosen, stream.launch);
      stream.waiting.pop_back();
      ++stream.running;
      unused.pop_back();
      resident.push_back(&block);
    }
    if (resident.empty()) return machine.report;
    const std::size_t chosen = machine.generator() % resident.size();
    Block& block = *resident[chosen];
    const Turn turn = take_turn(block);
    if (turn == Turn::moved) continue;
    if (turn == Turn::stuck) {
      fail("threads wait for others of their block that never come");
      for (Block& slot : slots) slot.threads.clear();
      return machine.report;
    }
    for (std::uint32_t i = 0; i < block.size; ++i) {
      machine.report.barriers = std::max(machine.report.barriers, block.threads[i]->barriers);
      machine.report.fences = std::max(machine.report.fences, block.threads[i]->fences);
    }
    resident.erase(resident.begin() + static_cast<std::ptrdiff_t>(chosen));
    unused.push_back(&block);
    Stream& stream = streams[block.stream];
    if (--stream.running == 0 && stream.waiting.empty()) {
      ++stream.launch;
      queue_blocks(stream, launches[block.stream]);
    }
  }
}

void check_read(const void* place) {
  const Access now = access_now();
  Place& state = state_of(place);
  if (state.write) {
    check(*state.write, place, "a read that does not come after the write");
  } else if (is_shared(place)) {
    fail("a read of shared memory that nothing was written to");
  }
  state.reads[std::uint64_t{now.block} << 32 | now.thread] = now;
}

void check_write(const void* place) {
  const Access now = access_now();
  Place& state = state_of(place);
  if (state.write) check(*state.write, place, "a write that does not come after the last one");
  for (const auto& [who, read] : state.reads) check(read, place, "a write that does not come after a read");
  state.write = now;
  state.reads.clear();
}

void* shared_memory(std::size_t size) {
  if (size > kSharedBytes) throw std::logic_error("more shared memory than the emulation has");
  return machine.current->block->shared.data();
}

std::uint64_t shuffle_down(std::uint64_t bits, std::uint32_t lanes) {
  Thread& me = *machine.current;
  // Two places by turns: no lane hands in its next but one number before all have taken this one.
  const std::uint32_t turn = me.shuffles++ % 2;
  me.handed[turn] = bits;
  stop(Stop::shuffle);
  return me.index % kWarp + lanes < kWarp ? me.block->threads[me.index + lanes]->handed[turn] : bits;
}

}  // namespace emulation

using emulation::machine;

void __syncthreads() {
  if (machine.mutation.without_barrier == machine.current->barriers++) return;
  emulation::stop(emulation::Stop::barrier);
}

void __threadfence() {
  emulation::Thread& me = *machine.current;
  if (machine.mutation.without_fence == me.fences++) return;
  emulation::join(me.acquired, me.pending);
  me.pending.clear();
  me.released = me.block->acquired;
  emulation::join(me.released, me.acquired);
  me.released[{me.block->id, me.index}] = {me.sequence, me.block->epoch};
  emulation::stop(emulation::Stop::none);
}

std::uint32_t atomicInc(std::uint32_t* place, std::uint32_t limit) {
  emulation::Thread& me = *machine.current;
  emulation::stop(emulation::Stop::none);
  emulation::Releases& releases = machine.atomics[place];
  emulation::join(me.pending, releases);
  emulation::join(releases, me.released);
  const std::uint32_t before = *place;
  *place = before >= limit && !machine.mutation.atomic_does_not_wrap ? 0 : before + 1;
  // Whoever comes now is of a later launch, which is ordered as such.
  if (*place == 0) releases.clear();
  emulation::stop(emulation::Stop::none);
  return before;
}

double __shfl_down_sync(std::uint32_t mask, double value, std::uint32_t lanes) {
  if (mask != ~0U) throw std::logic_error("the emulation shuffles whole warps");
  return std::bit_cast<double>(emulation::shuffle_down(std::bit_cast<std::uint64_t>(value), lanes));
}

}  // namespace anact::kernels::cuda
