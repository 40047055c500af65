// A machine that runs out of memory, as the kernel's log tells of it.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { followKernelLog, openCgroups } from '@nodelet/linux'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { descriptorsTo } from '../../linux/test/descriptors.ts'
import type { NodeletEvent } from '../src/events.ts'
import { silentLogger } from '../src/log.ts'
import { type OomReading, type OomVictim, readOomLine } from '../src/node/oom-lines.ts'
import { watchOom } from '../src/node/oom-watcher.ts'
import { open, useFixture } from './fixture.ts'

let base: string
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'oom-'))
})
afterAll(() => rmSync(base, { recursive: true }))

const of5 = [
  'systemd invoked oom-killer: gfp_mask=0x6200ca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0',
  'CPU: 0 PID: 1 Comm: systemd Kdump: loaded Not tainted 5.4.119-19-0009.1 #1',
  'oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/system.slice/pm2-root.service,task=node,pid=2092,uid=0',
  'Out of memory: Killed process 2092 (node) total-vm:2546008kB, anon-rss:1665620kB, file-rss:936kB, shmem-rss:0kB, UID:0 pgtables:38108kB oom_score_adj:0',
  'oom_reaper: reaped process 2092 (node), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB',
]
const node = { name: 'node', pid: 2092 }

describe('who was killed', () => {
  it.each<[string, string[], OomVictim[]]>([
    [
      'until 5.1: why, then who: a child was sacrificed',
      [
        'python invoked oom-killer: gfp_mask=0x6200ca(GFP_HIGHUSER_MOVABLE), nodemask=(null), order=0, oom_score_adj=0',
        'python cpuset=/ mems_allowed=0',
        'Out of memory: Kill process 19961 (python) score 17 or sacrifice child',
        'Killed process 31357 (sh) total-vm:5400kB, anon-rss:252kB, file-rss:4kB, shmem-rss:0kB',
        'oom_reaper: reaped process 31357 (sh), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB',
      ],
      [{ name: 'sh', pid: 31357 }],
    ],
    [
      '4.19, of a cgroup',
      [
        'thrash invoked oom-killer: gfp_mask=0x6000c0(GFP_KERNEL), nodemask=(null), order=0, oom_score_adj=0',
        'thrash cpuset=cc6b369add7d52448ae406800daa01f4836195e51190d9ee922fd685446f8368 mems_allowed=0-1',
        'Task in /kubepods/pod951f6bc5/024952d6 killed as a result of limit of /kubepods/pod951f6bc5/024952d6',
        'Memory cgroup out of memory: Kill process 62685 (bash) score 0 or sacrifice child',
        'Killed process 62769 (cp) total-vm:17528kB, anon-rss:100kB, file-rss:2616kB, shmem-rss:0kB',
      ],
      [],
    ],
    [
      '4.18 of RHEL 8, of a cgroup',
      [
        'java invoked oom-killer: gfp_mask=0x6200ca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=984',
        'Task in /kubepods.slice/docker-083a.scope killed as a result of limit of /kubepods.slice/docker-083a.scope',
        'Memory cgroup out of memory: Killed process 7093 (java) total-vm:11451920kB, anon-rss:1968776kB, file-rss:0kB, shmem-rss:16kB, UID:0',
      ],
      [],
    ],
    [
      '5.3',
      [
        'oomprocs invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0',
        'oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/user.slice/user-10383.slice/user@10383.service,task=oomprocs,pid=3035,uid=10383',
        'Out of memory: Killed process 3035 (oomprocs) total-vm:1056800kB, anon-rss:8kB, file-rss:4kB, shmem-rss:0kB',
      ],
      [{ name: 'oomprocs', pid: 3035 }],
    ],
    ['5.4', of5, [node]],
    [
      '6.x, the one that asked for memory is not the one that is killed',
      [
        'chromium invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=200',
        'oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=user.slice,mems_allowed=0,global_oom,task_memcg=/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.kde.konsole-10418.scope/tab(2336326).scope,task=codescout,pid=2621226,uid=1000',
        'Out of memory: Killed process 2621226 (codescout) total-vm:176941204kB, anon-rss:68726128kB, file-rss:2708kB, shmem-rss:0kB, UID:1000 pgtables:136028kB oom_score_adj:200',
      ],
      [{ name: 'codescout', pid: 2621226 }],
    ],
    [
      '6.18, of a cgroup, with all of its processes',
      [
        'sh invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0',
        'oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=pod,mems_allowed=0,oom_memcg=/kubepods/pod,task_memcg=/kubepods/pod,task=sh,pid=19067,uid=0',
        'Memory cgroup out of memory: Killed process 19067 (sh) total-vm:21028kB, anon-rss:15360kB, file-rss:1596kB, shmem-rss:0kB, UID:0 pgtables:84kB oom_score_adj:0',
        'Tasks in /kubepods/pod are going to be killed due to memory.oom.group set',
        'Memory cgroup out of memory: Killed process 19066 (tr) total-vm:2576kB, anon-rss:0kB, file-rss:1024kB, shmem-rss:0kB, UID:0 pgtables:44kB oom_score_adj:0',
      ],
      [],
    ],
    [
      'a victim whose cgroup dies with it is told once',
      [
        ...of5.slice(0, 4),
        'Tasks in /kubepods/pod are going to be killed due to memory.oom.group set',
        'Out of memory: Killed process 2093 (tr) total-vm:2576kB, anon-rss:0kB, file-rss:1024kB, shmem-rss:0kB, UID:0 pgtables:44kB oom_score_adj:0',
      ],
      [node],
    ],
    [
      'the one that asked is killed, as vm.oom_kill_allocating_task has it',
      [of5[0] ?? '', 'Out of memory (oom_kill_allocating_task): Killed process 1 (a) total-vm:1kB, anon-rss:1kB'],
      [{ name: 'a', pid: 1 }],
    ],
    [
      'a cgroup where nobody may be killed, then the machine, then the cgroup',
      [
        'systemd invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=100',
        'Out of memory and no killable processes...',
        ...of5,
        'Memory cgroup out of memory: Killed process 5 (b) total-vm:1kB, anon-rss:1kB',
      ],
      [node],
    ],
    [
      'names with all that a name may have',
      [
        of5[0] ?? '',
        'Out of memory: Killed process 7 (a) total-vm:9) total-vm:2kB, anon-rss:1kB',
        of5[0] ?? '',
        'Out of memory: Killed process 8 (a\nb (c)) total-vm:2kB, anon-rss:1kB',
      ],
      [
        { name: 'a) total-vm:9', pid: 7 },
        { name: 'a\nb (c)', pid: 8 },
      ],
    ],
    [
      'what is no kill',
      [
        of5[0] ?? '',
        'veth0: Out of memory: Killed process 9 (x) total-vm:1kB',
        'oom_reaper: reaped process 9 (x), now',
      ],
      [],
    ],
    ['a kill that began earlier', of5.slice(1), []],
  ])('%s', (_, lines, expected) => {
    let reading: OomReading = { pending: false }
    const told = lines.flatMap((line) => {
      reading = readOomLine(reading, line)
      return reading.victim ?? []
    })
    expect(told).toEqual(expected)
  })
})

/** A log that the test writes. */
function makeLog(): Disposable & { path: string; write(priority: number, line: string): void } {
  const path = join(mkdtempSync(join(base, 'log-')), 'kmsg')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR)
  let sequence = 0
  return {
    path,
    write: (priority, line) => void writeSync(fd, `${priority},${(sequence += 1)},1,-;${line}\n`),
    [Symbol.dispose]: () => closeSync(fd),
  }
}

const inTime = { timeout: 20_000, interval: 5 }
const told = {
  type: 'Warning',
  reason: 'SystemOOM',
  message: 'System OOM encountered, victim process: node, pid: 2092',
} as const

/** Watches a log until disposed. */
function watch(path?: string): AsyncDisposable & { events: NodeletEvent[]; log: string[] } {
  const ending = new AbortController()
  const events: NodeletEvent[] = []
  const log: string[] = []
  const done = watchOom({
    path,
    events: { recordNode: (event) => void events.push(event) },
    signal: ending.signal,
    log: { ...silentLogger, warn: (_fields, message) => void log.push(message) },
  })
  return {
    events,
    log,
    async [Symbol.asyncDispose]() {
      ending.abort()
      await done
    },
  }
}

it('the kernel is believed, a program that says the same is not', async () => {
  using kmsg = makeLog()
  await using watching = watch(kmsg.path)
  const asUser = 8
  for (const line of of5) kmsg.write(asUser + 3, line.replaceAll('2092', '1'))
  for (const line of of5) {
    kmsg.write(3, line)
    kmsg.write(asUser + 4, 'Memory cgroup out of memory: Killed process 1 (forged) total-vm:1kB')
  }
  for (const line of of5) kmsg.write(3, line.replaceAll('2092', '2093'))
  await expect
    .poll(() => watching.events, inTime)
    .toEqual([told, { ...told, message: told.message.replace('2092', '2093') }])
})

it('of the real log: neither a forgery nor the kill of a cgroup is told', async () => {
  const ending = new AbortController()
  const seen: string[] = []
  const reading = (async () => {
    for await (const { text } of followKernelLog({ signal: ending.signal })) seen.push(text)
  })()
  await using watching = watch()
  for (const line of of5) writeFileSync('/dev/kmsg', `<7>${line}\n`)
  const cgroups = await openCgroups()
  const path = `/nodelet-oom-${process.pid}`
  await cgroups.create(path, { memoryBytes: 16 << 20 })
  try {
    const hog = ['-c', 'read line; x=$(head -c 60000000 /dev/zero | tr "\\0" x)']
    const child = spawn('sh', hog, { stdio: ['pipe', 'ignore', 'ignore'] })
    await cgroups.attach(path, child.pid ?? 0)
    child.stdin.end('go\n')
    await once(child, 'exit')
    const killed = new RegExp(`^Memory cgroup out of memory: Killed process ${child.pid} `)
    await expect.poll(() => seen, inTime).toContainEqual(expect.stringMatching(killed))
  } finally {
    await cgroups.kill(path)
    await cgroups.remove(path)
    ending.abort()
    await reading
  }
  expect(seen).toEqual(expect.arrayContaining([of5[3]]))
  expect(watching.events).toEqual([])
})

it('without a log it says so once', async () => {
  await using watching = watch(join(base, 'none'))
  await expect.poll(() => watching.log, inTime).toEqual([expect.stringContaining("the kernel's log cannot be read")])
})

describe('a kubelet', () => {
  useFixture()

  it('tells it as an event of the node until it is closed', async () => {
    using kmsg = makeLog()
    const log: unknown[] = []
    const kubelet = await open({
      kernelLog: kmsg.path,
      log: { ...silentLogger, warn: (fields, message) => void log.push([fields, message]) },
    })
    for (const line of of5) kmsg.write(3, line)
    await expect.poll(() => log, inTime).toContainEqual([{ object: 'Node//node-1', reason: 'SystemOOM' }, told.message])
    const held = (): number => descriptorsTo((target) => target === kmsg.path)
    expect(held()).toBeGreaterThan(1)
    await kubelet.close()
    expect(held()).toBe(1) // the writer
  })
})
