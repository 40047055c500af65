// What is measured of this machine, against what its own tools say.
import { execFileSync } from 'node:child_process'
import { link, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { diskUsed } from '../../src/stats/disk-usage.ts'
import { createImageFolder } from '../../src/stats/image-folder.ts'
import { readNodeUsage } from '../../src/stats/node-usage.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usage-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

it('a folder takes what du says, hard links once, and links lead nowhere', async () => {
  for (let index = 0; index < 200; index++) {
    const below = join(folder, `d${index % 7}`, `e${index % 3}`)
    await mkdir(below, { recursive: true })
    await writeFile(join(below, `f${index}`), 'x'.repeat(index * 137))
    if (index % 10 === 0) await link(join(below, `f${index}`), join(folder, `hard${index}`))
  }
  await symlink('/usr', join(folder, 'soft'))
  const du = (flag: string): bigint =>
    BigInt(execFileSync('du', ['-sx', flag, folder], { encoding: 'utf8' }).split('\t')[0] ?? '')
  const used = await diskUsed(folder)
  expect(used).toEqual({ bytes: du('--block-size=1'), inodes: du('--inodes') })
})

it('what is not there takes nothing; an abort ends the walk', async () => {
  expect(await diskUsed(join(folder, 'nowhere'))).toEqual({ bytes: 0n, inodes: 0n })
  await expect(diskUsed(folder, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough')
})

it('the node has the memory and the disk that the machine has', async () => {
  const { signal } = new AbortController()
  const answer = (mountpoint: string) => async () => ({
    imageFilesystems: [{ timestamp: 0n, fsId: { mountpoint }, usedBytes: undefined, inodesUsed: undefined }],
    containerFilesystems: [],
  })
  const read = async (imageFsInfo: () => Promise<never> | ReturnType<ReturnType<typeof answer>>) =>
    readNodeUsage({ rootDir: folder, imageFolder: createImageFolder({ imageFsInfo }), now: () => 5 }, signal)
  const { timeMs, memory, nodefs, imagefs, pids } = await read(answer(tmpdir()))
  expect([timeMs, imagefs]).toEqual([5, undefined])
  const df = (column: string): bigint =>
    BigInt(
      execFileSync('df', ['--block-size=1', `--output=${column}`, folder], { encoding: 'utf8' }).split('\n')[1] ?? '',
    )
  expect(nodefs).toMatchObject({ capacityBytes: df('size'), inodes: df('itotal') })
  expect(memory.availableBytes > 0n && memory.availableBytes < memory.capacityBytes).toBe(true)
  expect(pids && pids.running > 0n && pids.running < pids.max).toBe(true)

  expect((await read(answer('/proc'))).imagefs).toBeDefined()
  const silent = async (): Promise<never> => Promise.reject(new CriError('UNIMPLEMENTED', 'no file system'))
  expect((await read(silent)).imagefs).toBeUndefined()
})
