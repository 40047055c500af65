// hostPath volumes: checked and, where asked for, made.
import { chmod, mkdir, open, stat } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import { hasCode } from '../errors.ts'
import type { HostPathPlan } from './plan.ts'

const checks: Record<string, { noun: string; holds(stats: Stats): boolean }> = {
  Directory: { noun: 'a directory', holds: (stats) => stats.isDirectory() },
  File: { noun: 'a file', holds: (stats) => stats.isFile() },
  Socket: { noun: 'a socket file', holds: (stats) => stats.isSocket() },
  CharDevice: { noun: 'a character device', holds: (stats) => stats.isCharacterDevice() },
  BlockDevice: { noun: 'a block device', holds: (stats) => stats.isBlockDevice() },
}

/** @throws Error in upstream's words when the path is not what its type says */
export async function prepareHostPath({ path, type }: HostPathPlan): Promise<void> {
  if (type === '') return
  const stats = await statOf(path)
  if (!stats && type === 'DirectoryOrCreate') {
    await mkdir(path, { recursive: true, mode: 0o755 })
    return chmod(path, 0o755)
  }
  if (!stats && type === 'FileOrCreate') return makeFile(path)
  const check = checks[type.replace('OrCreate', '')]
  if (!check) throw new Error(`${type} is an invalid volume type`)
  if (!stats || !check.holds(stats)) throw new Error(`hostPath type check failed: ${path} is not ${check.noun}`)
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return undefined
    throw error
  }
}

async function makeFile(path: string): Promise<void> {
  await using file = await open(path, 'a', 0o644)
  await file.chmod(0o644)
}
