// Every libc symbol that we call; nothing else knows them. All calls are short and synchronous.
import koffi from 'koffi'
import type { KoffiFunc, LibraryHandle } from 'koffi'
import { errnoName, LinuxError } from './errors.ts'

type Argument = string | number | bigint | Uint8Array | FilterProgram | null

/** `struct sock_fprog` */
interface FilterProgram {
  /** How many instructions there are. */
  length: number
  instructions: Uint8Array
}
const filterProgram = { length: 'unsigned short', instructions: 'const uint8_t *' }

/** As C declares them, or name, result and parameters where one function has many forms. */
const calls = {
  mount: 'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
  umount2: 'int umount2(const char *target, int flags)',
  unshare: 'int unshare(int flags)',
  setns: 'int setns(int fd, int kind)',
  sethostname: 'int sethostname(const char *name, size_t length)',
  socket: 'int socket(int domain, int type, int protocol)',
  connect: 'int connect(int fd, const uint8_t *address, unsigned int length)',
  bind: 'int bind(int fd, const uint8_t *address, unsigned int length)',
  setsockopt: 'int setsockopt(int fd, int level, int option, const uint8_t *value, unsigned int length)',
  attachFilter: ['setsockopt', 'int', ['int', 'int', 'int', 'const sock_fprog *', 'unsigned int']],
  send: 'long send(int fd, const uint8_t *data, size_t size, int flags)',
  recv: 'long recv(int fd, _Out_ uint8_t *data, size_t size, int flags)',
  close: 'int close(int fd)',
  fcntl: 'int fcntl(int fd, int command, int argument)',
  lseek: 'long lseek(int fd, long offset, int whence)',
  pipe2: 'int pipe2(_Out_ uint8_t *fds, int flags)',
  waitpid: 'int waitpid(int pid, _Out_ uint8_t *status, int options)',
  flock: 'int flock(int fd, int operation)',
  sysconf: 'long sysconf(int name)',
  prctl: 'int prctl(int option, unsigned long argument)',
  eventfd: 'int eventfd(unsigned int value, int flags)',
  prlimit: 'int prlimit(int pid, int resource, const uint8_t *limit, _Out_ uint8_t *former)',
  // For what this libc may have no function of its own: all numbers above 424 are the same on every processor.
  syscall: 'long syscall(long number, long first, long second)',
  openTree: ['syscall', 'long', ['long', 'int', 'str', 'unsigned int']],
  mountSetattr: ['syscall', 'long', ['long', 'int', 'str', 'unsigned int', 'const uint8_t *', 'size_t']],
  moveMount: ['syscall', 'long', ['long', 'int', 'str', 'int', 'str', 'unsigned int']],
  quotactlFd: ['syscall', 'long', ['long', 'int', 'unsigned int', 'unsigned int', '_Inout_ uint8_t *']],
  mknod: 'int mknod(const char *path, unsigned int mode, uint64_t device)',
  lsetxattr: 'int lsetxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)',
  lgetxattr: 'long lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)',
  utimensat: 'int utimensat(int folder, const char *path, const uint8_t *times, int flags)',
  posix_openpt: 'int posix_openpt(int flags)',
  grantpt: 'int grantpt(int fd)',
  unlockpt: 'int unlockpt(int fd)',
  ioctl: 'int ioctl(int fd, unsigned long request, unsigned long value)',
  ioctlWith: 'int ioctl(int fd, unsigned long request, const uint8_t *value)',
  tcgetattr: 'int tcgetattr(int fd, _Out_ uint8_t *termios)',
  tcsetattr: 'int tcsetattr(int fd, int when, const uint8_t *termios)',
} as const

/** The calls that this package makes. */
export type SystemCall = keyof typeof calls

/** The family of posix_spawn, which answers with an errno. */
const spawnCalls = {
  posix_spawn:
    'int posix_spawn(_Out_ uint8_t *pid, const char *file, const uint8_t *actions, const uint8_t *attributes, const char **argv, const char **envp)',
  posix_spawn_file_actions_init: 'int posix_spawn_file_actions_init(_Inout_ uint8_t *actions)',
  posix_spawn_file_actions_adddup2:
    'int posix_spawn_file_actions_adddup2(_Inout_ uint8_t *actions, int fd, int target)',
  posix_spawn_file_actions_addchdir_np:
    'int posix_spawn_file_actions_addchdir_np(_Inout_ uint8_t *actions, const char *path)',
  posix_spawn_file_actions_destroy: 'int posix_spawn_file_actions_destroy(_Inout_ uint8_t *actions)',
  posix_spawnattr_init: 'int posix_spawnattr_init(_Inout_ uint8_t *attributes)',
  posix_spawnattr_setflags: 'int posix_spawnattr_setflags(_Inout_ uint8_t *attributes, short flags)',
  posix_spawnattr_setsigmask: 'int posix_spawnattr_setsigmask(_Inout_ uint8_t *attributes, const uint8_t *set)',
  posix_spawnattr_setsigdefault: 'int posix_spawnattr_setsigdefault(_Inout_ uint8_t *attributes, const uint8_t *set)',
  posix_spawnattr_destroy: 'int posix_spawnattr_destroy(_Inout_ uint8_t *attributes)',
} as const

type Declaration = string | readonly [name: string, result: string, parameters: readonly string[]]
let libc: LibraryHandle | undefined
const found = new Map<string, KoffiFunc<(...args: unknown[]) => number>>()

function load(): LibraryHandle {
  koffi.struct('sock_fprog', filterProgram)
  return koffi.load('libc.so.6')
}

/** A function is looked for when it is first called: short programs need few. */
function bound(name: string, declaration: Declaration): KoffiFunc<(...args: unknown[]) => number> {
  const known = found.get(name)
  if (known) return known
  libc ??= load()
  const made =
    typeof declaration === 'string'
      ? libc.func(declaration)
      : libc.func(declaration[0], declaration[1], [...declaration[2]])
  found.set(name, made)
  return made
}

/** @throws LinuxError */
export function callSpawn(
  name: keyof typeof spawnCalls,
  subject: string,
  ...args: (Argument | readonly (string | null)[])[]
): void {
  const errno = bound(name, spawnCalls[name])(...args)
  if (errno !== 0) throw new LinuxError(errnoName(errno), name, subject)
}

/** Runs a call on another thread. Its errno stays there: a failure is told as -1. */
export async function callSlowly(
  name: 'send' | 'recv' | 'close' | 'mount' | 'umount2',
  ...args: Argument[]
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  bound(name, calls[name]).async(...args, (error: Error | null, result: number | bigint) => {
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
  const result = Number(bound(name, calls[name])(...args))
  if (result !== -1) return result
  throw new LinuxError(errnoName(koffi.errno()), name, subject)
}
