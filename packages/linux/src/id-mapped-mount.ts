// Mounts that show files under other ids. Needs root and Linux 5.12; tmpfs takes them since 6.3.
import { closeSync, openSync } from 'node:fs'
import { LinuxError } from './errors.ts'
import { call } from './libc.ts'

const number = { openTree: 428, moveMount: 429, mountSetattr: 442 }
const here = -100
const openTree = { clone: 0x1, closeOnExec: 0o200_0000 }
const at = { emptyPath: 0x1000, recursive: 0x8000 }
const fromEmptyPath = 0x4
const attribute = { readOnly: 0x1n, idMap: 0x10_0000n }

export interface IdMappedMountOptions {
  /** A folder or file. */
  source: string
  /** What it is mounted on: a folder or file as the source is. */
  target: string
  /** A file that is a user namespace, pinned or of /proc: id N inside is shown for id N on the disk. */
  userNamespace: string
  /** With all that is mounted below it, which then has to take part. Default: false. */
  recursive?: boolean
  /** Default: false. */
  readOnly?: boolean
}

/**
 * Binds a folder or file so that its owners are those of a user namespace: what belongs to 0 on the disk belongs to the
 * namespace's root. Binds of the mount keep this; ids that the namespace does not have show as 65534.
 *
 * @throws LinuxError EINVAL when the file system cannot, or it is shown under other ids already; ENOSYS before Linux 5.12.
 */
export function mountIdMapped({
  source,
  target,
  userNamespace,
  recursive = false,
  readOnly = false,
}: IdMappedMountOptions): void {
  const whole = recursive ? at.recursive : 0
  const tree = call('openTree', source, number.openTree, here, source, openTree.clone | openTree.closeOnExec | whole)
  try {
    const namespace = openSync(userNamespace, 'r')
    try {
      const attributes = Buffer.alloc(32)
      attributes.writeBigUInt64LE(attribute.idMap | (readOnly ? attribute.readOnly : 0n), 0)
      attributes.writeBigUInt64LE(BigInt(namespace), 24)
      const flags = at.emptyPath | whole
      call('mountSetattr', source, number.mountSetattr, tree, '', flags, attributes, attributes.length)
    } catch (error) {
      throw explained(error)
    } finally {
      closeSync(namespace)
    }
    call('moveMount', `${source} on ${target}`, number.moveMount, tree, '', here, target, fromEmptyPath)
  } finally {
    closeSync(tree)
  }
}

function explained(error: unknown): unknown {
  if (!(error instanceof LinuxError)) return error
  const { code, path } = error
  if (code === 'ENOSYS') return new LinuxError(code, 'mount_setattr', path, 'id-mapped mounts need Linux 5.12')
  if (code !== 'EINVAL') return new LinuxError(code, 'mount_setattr', path)
  return new LinuxError(code, 'mount_setattr', path, 'this file system, or one mounted below, cannot be id-mapped')
}
