// Project quotas: what folders may hold. The file system has to be mounted with them (`prjquota`). Needs root and Linux 5.14.
import { closeSync, openSync } from 'node:fs'
import { LinuxError } from './errors.ts'
import { call } from './libc.ts'

const quotactlFd = 443
/** Of linux/quota.h, for projects. */
const [getInfo, getQuota, setQuota] = [0x80_0005, 0x80_0007, 0x80_0008].map((command) => command * 256 + 2) as [
  number,
  number,
  number,
]
/** FS_IOC_FSSETXATTR */
const setAttributes = 0x401c_5820
const inherit = 0x200
/** `struct fsxattr`, `struct if_dqblk` and more than any `struct if_dqinfo`. */
const [attributeBytes, quotaBytes, infoBytes] = [28, 72, 64]
const blockBytes = 1024n
const blockLimits = 1

/** What a project holds. */
export interface ProjectUse {
  bytes: number
  inodes: number
  /** 0: no limit. */
  limitBytes: number
}

/** Why the file system of a folder keeps no project quotas; undefined: it does. */
export function whyNoProjectQuota(folder: string): LinuxError | undefined {
  try {
    onFolder(folder, (fd) => call('quotactlFd', folder, quotactlFd, fd, getInfo, 0, Buffer.alloc(infoBytes)))
    return undefined
  } catch (error) {
    if (error instanceof LinuxError) return error
    throw error
  }
}

/** Makes a new folder, and what is made in it from then on, a project's. @throws LinuxError */
export function setProject(folder: string, project: number): void {
  const attributes = Buffer.alloc(attributeBytes)
  attributes.writeUInt32LE(inherit, 0)
  attributes.writeUInt32LE(project, 12)
  onFolder(folder, (fd) => call('ioctlWith', `${folder} FS_IOC_FSSETXATTR`, fd, setAttributes, attributes))
}

/** @param folder anywhere in the file system @param bytes in steps of 1 KiB, rounded up; 0: no limit @throws LinuxError */
export function limitProject(folder: string, project: number, bytes: number): void {
  const quota = Buffer.alloc(quotaBytes)
  const blocks = (BigInt(bytes) + blockBytes - 1n) / blockBytes
  quota.writeBigUInt64LE(blocks, 0)
  quota.writeBigUInt64LE(blocks, 8)
  quota.writeUInt32LE(blockLimits, 64)
  onFolder(folder, (fd) => call('quotactlFd', folder, quotactlFd, fd, setQuota, project, quota))
}

/** @param folder anywhere in the file system @throws LinuxError */
export function projectUse(folder: string, project: number): ProjectUse {
  const quota = Buffer.alloc(quotaBytes)
  try {
    onFolder(folder, (fd) => call('quotactlFd', folder, quotactlFd, fd, getQuota, project, quota))
  } catch (error) {
    // xfs has nothing written down for a project that never had anything.
    if (!(error instanceof LinuxError && error.code === 'ENOENT')) throw error
  }
  return {
    bytes: Number(quota.readBigUInt64LE(16)),
    inodes: Number(quota.readBigUInt64LE(40)),
    limitBytes: Number(quota.readBigUInt64LE(0) * blockBytes),
  }
}

function onFolder(folder: string, work: (fd: number) => void): void {
  const fd = openSync(folder, 'r')
  try {
    work(fd)
  } finally {
    closeSync(fd)
  }
}
