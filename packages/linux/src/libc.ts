// Every libc symbol that we call; nothing else knows them. All calls are short and synchronous.
import koffi from 'koffi'
import { errnoName, LinuxError } from './errors.ts'

const libc = koffi.load('libc.so.6')

/** The calls that this package makes. */
export type SystemCall =
  | 'mount'
  | 'umount2'
  | 'unshare'
  | 'setns'
  | 'sethostname'
  | 'mknod'
  | 'lsetxattr'
  | 'lgetxattr'
  | 'utimensat'
  | 'socket'
  | 'connect'
  | 'bind'
  | 'setsockopt'
  | 'recv'
  | 'close'
  | 'fcntl'
  | 'lseek'
  | 'pipe2'
  | 'waitpid'
  | 'flock'
  | 'prlimit'
  | 'eventfd'
  | 'sysconf'
  | 'syscall'
  | 'openTree'
  | 'mountSetattr'
  | 'moveMount'
  | TerminalCall
type TerminalCall = 'posix_openpt' | 'grantpt' | 'unlockpt' | 'ioctl' | 'ioctlWith' | 'tcgetattr' | 'tcsetattr'

type Argument = string | number | bigint | Uint8Array | null

type SlowCall = 'send' | 'recv'

/** The calls that may block for long and run on a thread of their own, so that they hold up nothing else. */
const slow = {
  send: libc.func('long send(int fd, const uint8_t *data, size_t size, int flags)'),
  recv: libc.func('long recv(int fd, _Out_ uint8_t *data, size_t size, int flags)'),
}

const symbols: Record<SystemCall, (...args: Argument[]) => number> = {
  mount: libc.func(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
  ),
  umount2: libc.func('int umount2(const char *target, int flags)'),
  unshare: libc.func('int unshare(int flags)'),
  setns: libc.func('int setns(int fd, int kind)'),
  sethostname: libc.func('int sethostname(const char *name, size_t length)'),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  connect: libc.func('int connect(int fd, const uint8_t *address, unsigned int length)'),
  bind: libc.func('int bind(int fd, const uint8_t *address, unsigned int length)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int option, const uint8_t *value, unsigned int length)'),
  recv: slow.recv,
  close: libc.func('int close(int fd)'),
  fcntl: libc.func('int fcntl(int fd, int command, int argument)'),
  lseek: libc.func('long lseek(int fd, long offset, int whence)'),
  pipe2: libc.func('int pipe2(_Out_ uint8_t *fds, int flags)'),
  waitpid: libc.func('int waitpid(int pid, _Out_ uint8_t *status, int options)'),
  flock: libc.func('int flock(int fd, int operation)'),
  sysconf: libc.func('long sysconf(int name)'),
  eventfd: libc.func('int eventfd(unsigned int value, int flags)'),
  prlimit: libc.func('int prlimit(int pid, int resource, const uint8_t *limit, _Out_ uint8_t *former)'),
  // For what this libc may have no function of its own: all numbers above 424 are the same on every processor.
  syscall: libc.func('long syscall(long number, long first, long second)'),
  openTree: libc.func('syscall', 'long', ['long', 'int', 'str', 'unsigned int']),
  mountSetattr: libc.func('syscall', 'long', ['long', 'int', 'str', 'unsigned int', 'const uint8_t *', 'size_t']),
  moveMount: libc.func('syscall', 'long', ['long', 'int', 'str', 'int', 'str', 'unsigned int']),
  mknod: libc.func('int mknod(const char *path, unsigned int mode, uint64_t device)'),
  lsetxattr: libc.func(
    'int lsetxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)',
  ),
  lgetxattr: libc.func('long lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)'),
  utimensat: libc.func('int utimensat(int folder, const char *path, const uint8_t *times, int flags)'),
  posix_openpt: libc.func('int posix_openpt(int flags)'),
  grantpt: libc.func('int grantpt(int fd)'),
  unlockpt: libc.func('int unlockpt(int fd)'),
  ioctl: libc.func('int ioctl(int fd, unsigned long request, unsigned long value)'),
  ioctlWith: libc.func('int ioctl(int fd, unsigned long request, const uint8_t *value)'),
  tcgetattr: libc.func('int tcgetattr(int fd, _Out_ uint8_t *termios)'),
  tcsetattr: libc.func('int tcsetattr(int fd, int when, const uint8_t *termios)'),
}

type SpawnCall =
  | 'posix_spawn'
  | 'posix_spawn_file_actions_init'
  | 'posix_spawn_file_actions_adddup2'
  | 'posix_spawn_file_actions_addchdir_np'
  | 'posix_spawn_file_actions_destroy'
  | 'posix_spawnattr_init'
  | 'posix_spawnattr_setflags'
  | 'posix_spawnattr_setsigmask'
  | 'posix_spawnattr_setsigdefault'
  | 'posix_spawnattr_destroy'

/** The family of posix_spawn, which answers with an errno. */
const spawning: Record<SpawnCall, (...args: (Argument | readonly (string | null)[])[]) => number> = {
  posix_spawn: libc.func(
    'int posix_spawn(_Out_ uint8_t *pid, const char *file, const uint8_t *actions, const uint8_t *attributes, const char **argv, const char **envp)',
  ),
  posix_spawn_file_actions_init: libc.func('int posix_spawn_file_actions_init(_Inout_ uint8_t *actions)'),
  posix_spawn_file_actions_adddup2: libc.func(
    'int posix_spawn_file_actions_adddup2(_Inout_ uint8_t *actions, int fd, int target)',
  ),
  posix_spawn_file_actions_addchdir_np: libc.func(
    'int posix_spawn_file_actions_addchdir_np(_Inout_ uint8_t *actions, const char *path)',
  ),
  posix_spawn_file_actions_destroy: libc.func('int posix_spawn_file_actions_destroy(_Inout_ uint8_t *actions)'),
  posix_spawnattr_init: libc.func('int posix_spawnattr_init(_Inout_ uint8_t *attributes)'),
  posix_spawnattr_setflags: libc.func('int posix_spawnattr_setflags(_Inout_ uint8_t *attributes, short flags)'),
  posix_spawnattr_setsigmask: libc.func(
    'int posix_spawnattr_setsigmask(_Inout_ uint8_t *attributes, const uint8_t *set)',
  ),
  posix_spawnattr_setsigdefault: libc.func(
    'int posix_spawnattr_setsigdefault(_Inout_ uint8_t *attributes, const uint8_t *set)',
  ),
  posix_spawnattr_destroy: libc.func('int posix_spawnattr_destroy(_Inout_ uint8_t *attributes)'),
}

/** @throws LinuxError */
export function callSpawn(name: SpawnCall, subject: string, ...args: (Argument | readonly (string | null)[])[]): void {
  const errno = spawning[name](...args)
  if (errno !== 0) throw new LinuxError(errnoName(errno), name, subject)
}

/** Runs a call on another thread. Its errno stays there: a failure is told as -1. */
export async function callSlowly(name: SlowCall, ...args: Argument[]): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  slow[name].async(...args, (error: Error | null, result: number | bigint) => {
    if (error) reject(error)
    else resolve(Number(result))
  })
  return promise
}

/**
 * Calls libc and throws what it refused.
 * @param subject what the call is tried on, for the message
 * @throws LinuxError
 */
export function call(name: SystemCall, subject: string, ...args: Argument[]): number {
  const result = Number(symbols[name](...args))
  if (result !== -1) return result
  throw new LinuxError(errnoName(koffi.errno()), name, subject)
}
