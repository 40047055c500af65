// Sizes of folders: kept where the file system has project quotas, which the guest's has (guest.test.ts), and else told.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attachLoop, mount, projectUse, unmount, whyNoProjectQuota } from '@nodelet/linux'
import { expect, test } from 'vitest'
import { ControllerService } from '../../src/gen/csi.ts'
import { Session } from '../../src/testing/subject.ts'
import { openWorld } from './world.ts'

interface Written {
  volumes: { id: string; project?: number }[]
}
const unit = 2 ** 18

test('without project quotas that is said, and sizes are told', async () => {
  const lines: string[] = []
  const silent = (): void => {}
  const log = { error: silent, warn: silent, debug: silent, info: (_: object, line: string) => void lines.push(line) }
  await using world = await openWorld({ log })
  expect(whyNoProjectQuota(world.stateDir)?.code).toMatch(/^E/)
  expect(lines).toContain(
    'the sizes of folders are told and not kept: this file system has no project quotas (mount it with prjquota)',
  )
  await using session = new Session({ socketPath: world.socketPath, folder: world.folder })
  expect((await session.volume()).capacityBytes).toBe(BigInt(10 * 2 ** 20))
})

test.runIf(process.env.UML)('with project quotas folders hold what their volumes are large', async () => {
  execFileSync('modprobe', ['-q', '-d', '/run', 'quota_v2'])
  const base = mkdtempSync('/run/quota-')
  const [image, disk] = [join(base, 'image'), join(base, 'disk')]
  writeFileSync(image, '')
  truncateSync(image, 2 ** 27)
  execFileSync('mkfs.ext4', ['-q', '-F', '-O', 'quota,project', '-E', 'quotatype=prjquota', image])
  mkdirSync(disk)
  using loop = attachLoop(image, { autoClear: true })
  mount({ source: loop.path, target: disk, type: 'ext4', options: ['prjquota'] })
  try {
    await using world = await openWorld({ stateDir: join(disk, 'state') })
    const state = (): Written => JSON.parse(readFileSync(join(disk, 'state/state.json'), 'utf8')) as Written
    let project = 0
    {
      await using session = new Session({ socketPath: world.socketPath, folder: world.folder, sizeBytes: 4 * unit })
      const volume = await session.volume()
      const { volumeId } = volume
      project = state().volumes[0]?.project ?? 0
      expect(projectUse(disk, project)).toMatchObject({ limitBytes: 4 * unit, inodes: 1 })
      const staging = await session.stage(volume)
      const target = await session.publish(volume, staging)
      const { blocks, bsize } = statfsSync(target)
      expect(blocks * bsize).toBe(4 * unit)
      /** As somebody whom the kernel does not let past quotas. */
      const write =
        (units: number, at = target) =>
        (): string =>
          execFileSync(
            'setpriv',
            [
              '--bounding-set',
              '-sys_resource',
              '--inh-caps',
              '-sys_resource',
              'sh',
              '-c',
              `head -c ${units * unit} /dev/zero > ${at}/file`,
            ],
            { encoding: 'utf8', stdio: 'pipe' },
          )
      write(3)()
      expect(write(6)).toThrow('Disk quota exceeded')
      const range = { capacityRange: { requiredBytes: BigInt(16 * unit), limitBytes: 0n }, secrets: {} }
      await session.call(ControllerService.controllerExpandVolume, { volumeId, ...range, volumeCapability: undefined })
      write(12)()
      // A copy is as large as it is asked for, and holds no more either.
      const copy = await session.volume({
        capacityRange: { requiredBytes: BigInt(20 * unit) },
        volumeContentSource: { volume: { volumeId } },
      })
      const other = await session.publish(copy, await session.stage(copy))
      expect(write(30, other)).toThrow('Disk quota exceeded')
      expect(readFileSync(join(target, 'file')).length).toBe(12 * unit)
      expect(new Set(state().volumes.map((one) => one.project)).size).toBe(2)
    }
    expect(projectUse(disk, project)).toEqual({ bytes: 0, inodes: 0, limitBytes: 0 })
  } finally {
    unmount(disk)
    rmSync(base, { recursive: true })
  }
})
