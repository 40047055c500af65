// The files of both hierarchies, as kernels write them.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { usageV1, usageV2 } from '../src/cgroup-usage.ts'

let folder: string
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'cgroup-'))))
afterEach(() => rmSync(folder, { recursive: true }))

function write(files: Record<string, string>, within = ''): string {
  mkdirSync(join(folder, within), { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, within, name), `${text}\n`)
  return join(folder, within)
}

test('v2', () => {
  const pressure = 'some avg10=1.50 avg60=0.25 avg300=0.00 total=3000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7'
  const path = write({
    'cpu.stat': 'usage_usec 9\nuser_usec 6\nsystem_usec 3\nnr_periods 2\nnr_throttled 1\nthrottled_usec 5',
    'cpu.pressure': pressure,
    'memory.current': '1000',
    'memory.stat':
      'anon 100\nfile 700\nkernel 50\nfile_mapped 20\nactive_file 400\ninactive_file 300\npgfault 8\npgmajfault 2',
    'memory.max': 'max',
    'memory.events': 'low 0\nhigh 0\nmax 4\noom 1\noom_kill 1',
    'memory.swap.current': '11',
    'memory.swap.max': '64',
    'pids.current': '3',
    'pids.max': 'max',
    'io.stat': '8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n',
    'hugetlb.2MB.current': '2097152',
  })
  expect(usageV2(path)).toEqual({
    cpu: {
      usageNs: 9000n,
      userNs: 6000n,
      systemNs: 3000n,
      periods: 2,
      throttledPeriods: 1,
      throttledNs: 5000n,
      pressure: {
        some: { avg10: 1.5, avg60: 0.25, avg300: 0, totalNs: 3_000_000n },
        full: { avg10: 0, avg60: 0, avg300: 0, totalNs: 7000n },
      },
    },
    memory: {
      usage: 1000,
      workingSet: 700,
      rss: 100,
      cache: 700,
      mappedFile: 20,
      activeFile: 400,
      inactiveFile: 300,
      kernel: 50,
      pageFaults: 8,
      majorPageFaults: 2,
      own: { pageFaults: 8, majorPageFaults: 2 },
      limitHits: 4,
      swap: 11,
      swapLimit: 64,
      oomKills: 1,
    },
    pids: { current: 3 },
    io: { devices: [{ major: 8, minor: 0, readBytes: 4096, writtenBytes: 512, reads: 2, writes: 1 }] },
    hugePages: [{ pageSize: '2MB', usage: 2_097_152 }],
  })
})

test('v1', () => {
  const memory = write(
    {
      'memory.usage_in_bytes': '1000',
      'memory.stat':
        'pgfault 1\npgmajfault 0\ntotal_rss 100\ntotal_cache 600\ntotal_inactive_file 1200\ntotal_pgfault 5',
      'memory.limit_in_bytes': '4096',
      'memory.memsw.usage_in_bytes': '1500',
      'memory.memsw.limit_in_bytes': '9223372036854771712',
      'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2',
    },
    'memory',
  )
  const blkio = write(
    {
      'blkio.throttle.io_service_bytes': '8:0 Read 100\n8:0 Write 7\n8:0 Total 107\nTotal 107',
      'blkio.throttle.io_serviced': '8:0 Read 3\n8:0 Write 1\nTotal 4',
    },
    'blkio',
  )
  const accounting = write({ 'cpuacct.usage': '123', 'cpuacct.stat': 'user 5\nsystem 2' }, 'cpuacct')
  const usage = usageV1(new Map(Object.entries({ memory, blkio, cpuacct: accounting })))
  expect(usage.cpu).toMatchObject({ usageNs: 123n, userNs: 50_000_000n, systemNs: 20_000_000n, periods: 0 })
  expect(usage.memory).toMatchObject({ workingSet: 0, rss: 100, limit: 4096, swap: 500, oomKills: 2 })
  expect(usage.memory?.own).toEqual({ pageFaults: 1, majorPageFaults: 0 })
  expect(usage.memory).not.toHaveProperty('swapLimit')
  expect(usage.io?.devices).toEqual([{ major: 8, minor: 0, readBytes: 100, writtenBytes: 7, reads: 3, writes: 1 }])
})

test('a cgroup that has gone has no usage', () => {
  expect(usageV2(join(folder, 'gone'))).toEqual({})
  expect(usageV1(new Map([['memory', join(folder, 'gone')]]))).toEqual({})
})
