// How full a volume is, of real file systems and devices.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { attachLoop } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { usageOf } from '../../src/sdk/index.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'usage-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('a block device is as large as it is, not as the file system of its node', async () => {
  const file = join(folder, 'image')
  writeFileSync(file, '')
  truncateSync(file, 5 * 2 ** 20)
  using loop = attachLoop(file, { autoClear: true })
  const size = 5 * 2 ** 20
  expect(await usageOf(loop.path)).toEqual([{ unit: 'BYTES', total: size, available: 0, used: size }])
})

test('where nothing is, it is NOT_FOUND', async () => {
  const path = join(folder, 'nothing')
  await expect(usageOf(path)).rejects.toMatchObject({ code: 'NOT_FOUND', message: `${path}: nothing is there` })
})

test('a folder is as its file system is', async () => {
  const usage = await usageOf(folder)
  expect(usage.map(({ unit }) => unit)).toEqual(['BYTES', 'INODES'])
  for (const { total, used, available } of usage) expect([total > 0, used + available <= total]).toEqual([true, true])
})
