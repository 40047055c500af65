// A disk that others have mounted, where this process does not see it.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attachLoop, mount } from '@nodelet/linux'
import { expect, test } from 'vitest'
import { diskAt, isInUse } from '../../src/volume/disk.ts'
import { disk, driverName, never, newWorld, podOf } from './world.ts'

const staging = `plugins/kubernetes.io/csi/${driverName}/d2e8363faaac7ae76def3b14091d8eb5755f6b92e9531627aeec833a8731cc49/globalmount`

test('a volume is unstaged when nobody has its disk any more, also not where that is not seen', async () => {
  await using world = await newWorld()
  let nowMs = 1_700_000_000_000
  const volumes = await world.open({ clock: { now: () => nowMs } })
  const image = join(world.base, 'image')
  writeFileSync(image, '')
  truncateSync(image, 4 << 20)
  execFileSync('mkfs.ext4', ['-q', '-F', image])
  using loop = attachLoop(image, { autoClear: true })
  world.before.stage = () => mount({ source: loop.path, target: join(world.rootDir, staging), type: 'ext4' })
  await volumes.setUp(disk(), podOf(), {}, never)
  const found = await diskAt(loop.path)
  expect(found && (await isInUse(found))).toBe(true)

  // A container, for instance, that has a copy of all mounts.
  const other = spawn('unshare', ['--mount', 'sh', '-c', 'echo; exec sleep 1000'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const ended = once(other, 'exit')
  try {
    await once(other.stdout, 'data')
    for (const again of [async () => volumes.tearDown('uid-1'), async () => volumes.tearDownUnused()]) {
      await expect(again()).rejects.toThrow(
        'UnmountDevice failed for volume "vol-1" : the device is in use when it was no longer expected to be in use',
      )
      expect([volumes.inUse(), await world.mounts()]).toEqual([[`kubernetes.io/csi/${driverName}^vol-1`], []])
      nowMs += 200_000
    }
  } finally {
    other.kill('SIGKILL')
    await ended
  }
  // The driver is not asked again: by now the volume may be deleted, and nobody knows it.
  expect(world.asked()).toEqual(['stage', 'publish', 'unpublish', 'unstage'])
  await volumes.setUp(disk(), podOf(), {}, never)
  await volumes.tearDown('uid-1')
  expect([volumes.inUse(), world.left(), world.asked()]).toEqual([[], [], ['stage', 'publish', 'unpublish', 'unstage']])
  expect(found && (await isInUse(found))).toBe(false)
})
