// Namespaces that live without a process: created from this one, kept by bind mounts. Needs root.
import { closeSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { call } from './libc.ts'
import { mount, unmountIfMounted } from './mount.ts'

/** The kinds that a thread of this process can leave and come back to. */
export type NamespaceKind = 'net' | 'ipc' | 'uts'

const kinds: Record<NamespaceKind, number> = { net: 0x4000_0000, ipc: 0x0800_0000, uts: 0x0400_0000 }
let nsfsDevice: number | undefined

/** The device that all namespaces are files of. */
function nsfs(): number {
  nsfsDevice ??= statSync('/proc/self/ns/net').dev
  return nsfsDevice
}

export interface PinOptions {
  /** Kind → the file that will hold it; made when missing. Its folder must exist and should be a private mount. */
  paths: Partial<Record<NamespaceKind, string>>
  /** Set in a new UTS namespace. */
  hostname?: string
}

/**
 * Makes new namespaces and pins them by bind mounts; this thread is back in its own before the function returns.
 * What was pinned is undone when a later one fails.
 * @throws LinuxError
 */
export function pinNamespaces({ paths, hostname }: PinOptions): void {
  const wanted = Object.entries(paths) as [NamespaceKind, string][]
  const home = wanted.map(([kind]) => ({ kind, fd: openSync(`/proc/thread-self/ns/${kind}`, 'r') }))
  try {
    const flags = wanted.reduce((sum, [kind]) => sum | kinds[kind], 0)
    call('unshare', wanted.map(([kind]) => kind).join(', '), flags)
    if (hostname !== undefined && paths.uts) call('sethostname', hostname, hostname, Buffer.byteLength(hostname))
    for (const [kind, path] of wanted) pin(kind, path)
  } catch (error) {
    for (const [, path] of wanted) unpinNamespace(path)
    throw error
  } finally {
    for (const { kind, fd } of home) {
      call('setns', `own ${kind} namespace`, fd, kinds[kind])
      closeSync(fd)
    }
  }
}

function pin(kind: NamespaceKind, path: string): void {
  pinFrom(`/proc/thread-self/ns/${kind}`, path)
}

/** Holds a namespace of /proc by a file. @throws LinuxError */
export function pinFrom(source: string, path: string): void {
  writeFileSync(path, '', { flag: 'a' })
  mount({ source, target: path, options: ['bind'] })
}

/** Sets the name of a pinned UTS namespace. @throws LinuxError */
export function nameHost(utsPath: string, name: string): void {
  inNamespace('uts', utsPath, () => call('sethostname', name, name, Buffer.byteLength(name)))
}

/** Lets a pinned namespace go and removes its file. Nothing happens when there is none. @throws LinuxError */
export function unpinNamespace(path: string): void {
  unmountIfMounted(path, { detach: true })
  rmSync(path, { force: true })
}

/** Whether the file still holds a namespace: after a reboot the file may be there and the namespace gone. */
export function isNamespacePinned(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.dev === nsfs()
}

/** Runs a synchronous function inside a pinned namespace; sockets opened there stay in it. @throws LinuxError */
export function inNamespace<Result>(kind: NamespaceKind, path: string, work: () => Result): Result {
  const home = openSync(`/proc/thread-self/ns/${kind}`, 'r')
  try {
    const target = openSync(path, 'r')
    try {
      call('setns', path, target, kinds[kind])
    } finally {
      closeSync(target)
    }
    try {
      return work()
    } finally {
      call('setns', `own ${kind} namespace`, home, kinds[kind])
    }
  } finally {
    closeSync(home)
  }
}
