// Every libc symbol that we call; nothing else knows them. All calls are short and synchronous.
import koffi from 'koffi'
import { LinuxError } from './errors.ts'

const libc = koffi.load('libc.so.6')
/** The calls that this package makes. */
export type SystemCall = 'mount' | 'umount2' | 'unshare' | 'setns' | 'sethostname'

const symbols: Record<SystemCall, (...args: (string | number | null)[]) => number> = {
  mount: libc.func(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
  ),
  umount2: libc.func('int umount2(const char *target, int flags)'),
  unshare: libc.func('int unshare(int flags)'),
  setns: libc.func('int setns(int fd, int kind)'),
  sethostname: libc.func('int sethostname(const char *name, size_t length)'),
}

const errnoNames = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]))

/**
 * Calls libc and throws what it refused.
 * @param subject what the call is tried on, for the message
 * @throws LinuxError
 */
export function call(name: SystemCall, subject: string, ...args: (string | number | null)[]): void {
  const result = symbols[name](...args)
  if (result !== -1) return
  const errno = koffi.errno()
  throw new LinuxError(errnoNames.get(errno) ?? `errno ${errno}`, name, subject)
}
