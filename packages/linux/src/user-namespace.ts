// User namespaces that live without a process, and namespaces that they own. Needs root.
import { writeFileSync } from 'node:fs'
import { finished, startProgram } from './spawn.ts'
import type { Program } from './spawn.ts'
import { nameHost, pinFrom, unpinNamespace } from './namespaces.ts'
import type { NamespaceKind } from './namespaces.ts'

/** `length` ids from `containerId` on, inside, are those from `hostId` on in this process's namespace. */
export interface IdMapping {
  containerId: number
  hostId: number
  length: number
}

/** All users and groups that a namespace has. */
export interface IdMappings {
  uids: readonly IdMapping[]
  gids: readonly IdMapping[]
}

export interface OwnedPinOptions {
  mappings: IdMappings
  /** The file that will hold the user namespace; made when missing. Its folder must exist and should be a private mount. */
  user: string
  /** Kind → the file that will hold a new namespace which belongs to the user namespace. */
  paths: Partial<Record<NamespaceKind, string>>
  /** Set in a new UTS namespace. */
  hostname?: string
}

const switches: Record<NamespaceKind, string> = { net: '-n', ipc: '-i', uts: '-u' }

/**
 * Makes a user namespace and others that belong to it, and pins them by bind mounts. What was pinned is undone when a
 * later one fails.
 *
 * @throws LinuxError, or Error when the kernel allows no user namespace or refuses the mappings.
 */
export async function pinOwnedNamespaces({ mappings, user, paths, hostname }: OwnedPinOptions): Promise<void> {
  const wanted = Object.entries(paths) as [NamespaceKind, string][]
  const kinds = wanted.map(([kind]) => kind)
  try {
    await inChild(kinds, mappings, (pid) => {
      pinFrom(`/proc/${pid}/ns/user`, user)
      for (const [kind, path] of wanted) pinFrom(`/proc/${pid}/ns/${kind}`, path)
    })
    if (hostname !== undefined && paths.uts) nameHost(paths.uts, hostname)
  } catch (error) {
    for (const path of [user, ...wanted.map(([, one]) => one)]) unpinNamespace(path)
    throw error
  }
}

/**
 * Makes a user namespace that goes when the work, which gets a path of it, has returned.
 *
 * @throws Error when the kernel allows no user namespace or refuses the mappings.
 */
export async function inUserNamespace<Result>(mappings: IdMappings, work: (path: string) => Result): Promise<Result> {
  return inChild([], mappings, (pid) => work(`/proc/${pid}/ns/user`))
}

/** Whether two say the same, line by line. */
export function sameIdMappings(one: IdMappings, other: IdMappings): boolean {
  return mapText(one.uids) === mapText(other.uids) && mapText(one.gids) === mapText(other.gids)
}

/** A process with threads, such as this one, cannot leave its user namespace: a child does, and waits while we work. */
async function inChild<Result>(
  kinds: readonly NamespaceKind[],
  mappings: IdMappings,
  work: (pid: number) => Result,
): Promise<Result> {
  const child = startProgram('unshare', ['-U', ...kinds.map((kind) => switches[kind]), 'cat'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  try {
    await isUnshared(child, kinds)
    // Both before anything is done inside: a namespace without them has no root. setgroups stays allowed.
    writeMap(child.pid, 'uid', mappings.uids)
    writeMap(child.pid, 'gid', mappings.gids)
    return work(child.pid)
  } finally {
    child.kill('SIGKILL')
    await child.ended
    for (const stream of child.stdio) stream?.destroy()
  }
}

/** The echo of `cat` tells that `unshare` is through. */
async function isUnshared(child: Program, kinds: readonly NamespaceKind[]): Promise<void> {
  const [stdin, stdout] = child.stdio
  if (!stdin || !stdout) throw new Error('unshare: no pipes')
  stdin.on('error', () => {}) // one that ended early says why on its standard error
  stdin.write('.')
  const echoed = Promise.withResolvers<boolean>()
  stdout.once('data', () => echoed.resolve(true))
  void child.ended.then(() => echoed.resolve(false))
  if (await echoed.promise) return
  const { stderr } = await finished(child)
  throw new Error(
    `making a user namespace with ${['user', ...kinds].join(', ')}: ${stderr.trim()}; see sysctl user.max_user_namespaces`,
  )
}

function writeMap(pid: number, kind: 'uid' | 'gid', lines: readonly IdMapping[]): void {
  try {
    writeFileSync(`/proc/${pid}/${kind}_map`, mapText(lines))
  } catch (cause) {
    const { message } = cause as Error
    throw new Error(`mapping ${kind}s ${JSON.stringify(lines)}: ${message}`, { cause })
  }
}

function mapText(lines: readonly IdMapping[]): string {
  return lines.map(({ containerId, hostId, length }) => `${containerId} ${hostId} ${length}\n`).join('')
}
