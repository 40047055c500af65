// Rotation of a container's log: the plan, and files that really move.
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { removeContainerLog, removeStaleLogs } from '../../src/container-log/remove.ts'
import { rotateLog } from '../../src/container-log/rotate.ts'
import { planRotation, rotatedName } from '../../src/container-log/rotation.ts'
import { createLogRotator } from '../../src/container-log/rotator.ts'
import { linkLog, symlinkName } from '../../src/container-log/symlink.ts'
import { systemClock } from '../../src/clock.ts'
import { silentLogger } from '../../src/log.ts'

describe('the plan', () => {
  test.each([
    { what: 'a first rotation', names: ['0.log'], maxFiles: 5, remove: [], pack: [] },
    { what: 'the last one is packed', names: ['0.log', '0.log.1'], maxFiles: 5, remove: [], pack: ['0.log.1'] },
    {
      what: 'room is made for the live one and the one to come',
      names: ['0.log', '0.log.4', '0.log.1.gz', '0.log.3.gz', '0.log.2.gz'],
      maxFiles: 5,
      remove: ['0.log.1.gz'],
      pack: ['0.log.4'],
    },
    { what: 'two files: none is kept before', names: ['0.log', '0.log.1'], maxFiles: 2, remove: ['0.log.1'], pack: [] },
    {
      what: 'what a crash left is cleaned',
      names: ['0.log', '0.log.1', '0.log.1.gz', '0.log.2', '0.log.2.gz.tmp'],
      maxFiles: 5,
      remove: ['0.log.1', '0.log.2.gz.tmp'],
      pack: ['0.log.2'],
    },
    { what: 'others stay', names: ['1.log', '1.log.1', '10.log.1'], maxFiles: 2, remove: [], pack: [] },
  ])('$what', ({ names, maxFiles, remove, pack }) => {
    expect(planRotation(names, '0.log', maxFiles)).toEqual({ remove, pack })
  })

  it('names a file by its time', () => {
    expect(rotatedName('3.log', Date.UTC(2026, 0, 31, 23, 59, 58, 7))).toBe('3.log.20260131-235958')
  })
})

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'container-log-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))
const file = (name: string): string => join(folder, name)
const { signal } = new AbortController()

it('rotates again and again: never more files than allowed, packed ones readable, nothing lost in between', async () => {
  for (let turn = 0; turn < 6; turn++) {
    await writeFile(file('0.log'), `turn ${turn}\n`)
    await rotateLog(file('0.log'), {
      maxFiles: 4,
      nowMs: Date.UTC(2026, 0, 1, 0, 0, turn),
      reopen: async () => writeFile(file('0.log'), ''),
      signal,
    })
    expect((await readdir(folder)).length).toBeLessThanOrEqual(4)
  }
  expect((await readdir(folder)).toSorted()).toEqual([
    '0.log',
    '0.log.20260101-000003.gz',
    '0.log.20260101-000004.gz',
    '0.log.20260101-000005',
  ])
  expect(execFileSync('zcat', [file('0.log.20260101-000003.gz')], { encoding: 'utf8' })).toBe('turn 3\n')
  expect(await readFile(file('0.log.20260101-000005'), 'utf8')).toBe('turn 5\n')
})

it('gives the log its name back when the runtime does not reopen it', async () => {
  await writeFile(file('0.log'), 'kept\n')
  const reopen = async (): Promise<void> => {
    throw new Error('the runtime is away')
  }
  await expect(rotateLog(file('0.log'), { maxFiles: 5, nowMs: 0, reopen, signal })).rejects.toThrow('away')
  expect(await readdir(folder)).toEqual(['0.log'])
})

it('looks after what runs: large logs are rotated, lost ones made anew, and one failure stops no other', async () => {
  await writeFile(file('broken.log'), 'x'.repeat(2000))
  await writeFile(file('large.log'), 'x'.repeat(2000))
  await writeFile(file('small.log'), 'x')
  const asked: string[] = []
  const rotator = createLogRotator({
    runtime: {
      async reopenContainerLog({ containerId }) {
        asked.push(containerId)
        if (containerId === 'broken') throw new Error('no')
        await writeFile(file(`${containerId}.log`), '')
        return {}
      },
    },
    running: () => ['broken', 'large', 'small', 'lost'].map((id) => ({ id, logPath: file(`${id}.log`) })),
    configuration: {
      containerLogMaxSize: '1Ki',
      containerLogMaxFiles: 5,
      containerLogMaxWorkers: 1,
      containerLogMonitorInterval: '1h',
    },
    clock: systemClock,
    log: silentLogger,
  })
  rotator.now()
  await expect.poll(() => asked).toContain('lost')
  await rotator.close()
  expect(asked).toEqual(['broken', 'large', 'lost'])
  expect((await readdir(folder)).map((name) => name.replace(/\d{8}-\d{6}/, 'TIME')).toSorted()).toEqual([
    'broken.log',
    'large.log',
    'large.log.TIME',
    'lost.log',
    'small.log',
  ])
})

it('links each log by a name that collectors split, cut to what a file can be called', async () => {
  const id = 'a'.repeat(64)
  expect(symlinkName({ pod: 'web', namespace: 'shop', container: 'app', id })).toBe(`web_shop_app-${id}.log`)
  const long = symlinkName({ pod: 'p'.repeat(253), namespace: 'shop', container: 'app', id })
  expect(long).toBe(`${'p'.repeat(186)}-${id}.log`)
  expect(long).toHaveLength(255)

  const pods = file('pods')
  await mkdir(pods)
  const one = { pod: 'web', namespace: 'shop', container: 'app', id, logPath: file('0.log') }
  await linkLog(pods, one)
  await linkLog(pods, one)
  expect(await readlink(join(file('containers'), symlinkName(one)))).toBe(one.logPath)
})

it('removes the logs of what is gone, and of nothing else', async () => {
  const pods = file('pods')
  for (const name of ['shop_web_uid-1/app', 'shop_web_uid-2/app', 'lost+found']) {
    await mkdir(join(pods, name), { recursive: true })
  }
  const log = (uid: string, name: string): string => join(pods, `shop_web_${uid}/app`, name)
  for (const name of ['0.log', '0.log.1.gz', '1.log', '10.log']) await writeFile(log('uid-1', name), '')
  await mkdir(file('containers'))
  await symlink(log('uid-1', '0.log'), join(file('containers'), 'dead.log'))
  await symlink(log('uid-1', '1.log'), join(file('containers'), 'live.log'))
  await writeFile(join(file('containers'), 'other'), '')

  await removeContainerLog(log('uid-1', '0.log'))
  await removeStaleLogs(pods, (uid) => uid === 'uid-2')
  expect(await readdir(join(pods, 'shop_web_uid-1/app'))).toEqual(['1.log', '10.log'])
  expect((await readdir(pods)).toSorted()).toEqual(['lost+found', 'shop_web_uid-1'])
  expect((await readdir(file('containers'))).toSorted()).toEqual(['live.log', 'other'])
  await removeStaleLogs(file('nowhere'), () => true)
})
