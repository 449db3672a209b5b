// The kernel under load: shoal_stress [threads|deaths|all] [seconds] [seed].
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "process.h"

using namespace shoal::stress;

static constexpr double kSecondsDefault = 8;

#if defined(__SANITIZE_THREAD__)
static constexpr bool kThreadSanitizer = true;  // it knows nothing of other processes
#else
static constexpr bool kThreadSanitizer = false;
#endif

// A process that removes the folder when this one and all its forks are gone, however they ended: they hold the other end of its
// pipe. It is nobody's child, since the forks are waited for by number and in groups.
static bool guard(const char* folder) {
  int ends[2];
  if (pipe(ends) != 0) return false;
  pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    if (fork() != 0) _exit(0);
    setsid();
    close(ends[1]);
    for (int descriptor : {0, 1, 2}) close(descriptor);
    char byte;
    while (read(ends[0], &byte, 1) < 0 && errno == EINTR) {
    }
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    _exit(0);
  }
  close(ends[0]);
  return waitpid(child, nullptr, 0) == child;
}

int main(int count, char** arguments) {
  std::string mode = count > 1 ? arguments[1] : "all";
  Options options;
  options.seconds = count > 2 ? std::atof(arguments[2]) : kSecondsDefault;
  options.seed = count > 3 ? std::strtoull(arguments[3], nullptr, 10) : std::random_device()();
  if ((mode != "threads" && mode != "deaths" && mode != "all") || options.seconds <= 0) {
    std::fprintf(stderr, "usage: %s [threads|deaths|all] [seconds > 0] [seed]\n", arguments[0]);
    return 2;
  }
  char folder[] = "/tmp/shoal-stress-XXXXXX";
  if (!mkdtemp(folder)) {
    std::perror("mkdtemp");
    return 1;
  }
  if (!guard(folder)) {
    std::perror("guard");
    return 1;
  }
  options.folder = std::string(folder) + "/spilled";
  std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
  std::fflush(stdout);
  if (mode != "deaths") run_threads(options);
  if (mode == "deaths" || (mode == "all" && !kThreadSanitizer)) run_deaths(options);
  std::filesystem::remove_all(folder);
  return 0;
}
