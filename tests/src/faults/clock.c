/* A wall clock of a process's own, to be loaded before the system's library (LD_PRELOAD). The file that TEST_CLOCK_FILE
 * names holds by how many seconds it is ahead, a signed number of 8 bytes; it is mapped, so that the clock follows at once.
 *
 * Not libfaketime, under which a Java process waits for seconds where it should wait for milliseconds. Invariant: elapsed
 * time (CLOCK_MONOTONIC, CLOCK_BOOTTIME) is left alone, and a wait ends when it would without this.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *ahead_s;
static int (*wait_until)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*wait_until_c11)(cnd_t *, mtx_t *, const struct timespec *);

static long long ahead(void) { return ahead_s ? *ahead_s : 0; }

/* Not through the library: another thread may ask before this one is ready. */
static int ask(clockid_t clock, struct timespec *at) { return (int)syscall(SYS_clock_gettime, clock, at); }

__attribute__((constructor)) static void start(void) {
  /* By its version: without one, an older form of it may be found. */
  wait_until = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!wait_until) wait_until = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  wait_until_c11 = dlsym(RTLD_NEXT, "cnd_timedwait");
  const char *path = getenv("TEST_CLOCK_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) abort();
  void *page = mmap(NULL, sizeof *ahead_s, PROT_READ, MAP_SHARED, file, 0);
  if (page == MAP_FAILED) abort();
  ahead_s = page;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  int failed = ask(clock, at);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead();
  return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
  return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

static long long apart(long long a, long long b) { return a > b ? a - b : b - a; }

/* A moment to wait for is one of this clock, of the system's, or of elapsed time: whichever is the nearest. */
static struct timespec of_system(const struct timespec *until) {
  struct timespec wall, elapsed, moved = *until;
  long long by = ahead();
  ask(CLOCK_REALTIME, &wall);
  ask(CLOCK_MONOTONIC, &elapsed);
  long long ours = apart(until->tv_sec, wall.tv_sec + by);
  if (ours < apart(until->tv_sec, wall.tv_sec) && ours < apart(until->tv_sec, elapsed.tv_sec)) moved.tv_sec -= by;
  return moved;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until) {
  struct timespec moved = of_system(until);
  return wait_until(condition, lock, &moved);
}

/* What librdkafka waits with. */
int cnd_timedwait(cnd_t *condition, mtx_t *lock, const struct timespec *until) {
  struct timespec moved = of_system(until);
  return wait_until_c11(condition, lock, &moved);
}
