// The end of pods when the machine shuts down.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it, test } from 'vitest'
import { parseKubeletConfiguration } from '../../src/configuration/kubelet-configuration.ts'
import { shutdownIn } from '../../src/shutdown/logind.ts'
import { planShutdown, shutdownGroups } from '../../src/shutdown/plan.ts'

const groupsOf = (input: object) => shutdownGroups(parseKubeletConfiguration(input, 'test'))
const pod = (name: string, priority?: number, terminationGracePeriodSeconds?: number): Pod => ({
  metadata: { name },
  spec: {
    containers: [],
    ...(priority !== undefined && { priority }),
    ...(terminationGracePeriodSeconds !== undefined && { terminationGracePeriodSeconds }),
  },
})

test.each([
  [{}, []],
  [
    { shutdownGracePeriod: '30s', shutdownGracePeriodCriticalPods: '10s' },
    [
      { priority: 0, seconds: 20 },
      { priority: 2_000_000_000, seconds: 10 },
    ],
  ],
  [
    {
      shutdownGracePeriodByPodPriority: [
        { priority: 100, shutdownGracePeriodSeconds: 5 },
        { priority: 0, shutdownGracePeriodSeconds: 60 },
      ],
    },
    [
      { priority: 0, seconds: 60 },
      { priority: 100, seconds: 5 },
    ],
  ],
])('%j', (input, groups) => expect(groupsOf(input)).toEqual(groups))

it('puts pods into the group below their priority, and gives none more time than its group has', () => {
  const groups = [
    { priority: 0, seconds: 20 },
    { priority: 100, seconds: 7 },
    { priority: 2_000_000_000, seconds: 10 },
  ]
  const pods = [pod('none'), pod('low', -5, 5), pod('middle', 99), pod('high', 100, 60), pod('critical', 2_000_001_000)]
  const plan = planShutdown(groups, pods).map(({ seconds, pods: own }) => [
    seconds,
    own.map(({ pod: one, graceSeconds }) => `${one.metadata?.name} ${graceSeconds}`),
  ])
  expect(plan).toEqual([
    [20, ['none 20', 'low 5', 'middle 20']],
    [7, ['high 7']],
    [10, ['critical 10']],
  ])
  expect(planShutdown(groups, [pod('only', 100)]).map(({ seconds }) => seconds)).toEqual([7])
})

test.each([
  ['{"member":"PrepareForShutdown","payload":{"type":"b","data":[true]}}', true],
  ['{"member":"PrepareForShutdown","payload":{"type":"b","data":[false]}}', false],
  ['{"member":"Other","payload":{"data":[true]}}', undefined],
  ['Monitoring bus message stream.', undefined],
  ['{', undefined],
])('the line %s tells %s', (line, begins) => expect(shutdownIn(line)).toBe(begins))

const logind = '/lib/systemd/systemd-logind'
const programs = [logind, '/usr/bin/dbus-daemon', '/usr/bin/busctl', '/usr/bin/systemd-inhibit']
it.skipIf(!programs.every((path) => existsSync(path)))(
  'a real logind waits for the pods, hears when they have ended, and is told again when a shutdown is called off',
  { timeout: 60_000 },
  async () => {
    const script = join(import.meta.dirname, 'run.ts')
    const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=@nodelet/source', script])
    const said = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as unknown[]
    const text = JSON.stringify(said)
    expect(text).not.toContain('warning')
    expect(said.filter((one) => /^\["(web|batch|critical)"/.test(JSON.stringify(one))).slice(0, 3)).toEqual([
      ['web', 'Terminated', 2],
      ['batch', 'Terminated', 5],
      ['critical', 'Terminated', 3],
    ])
    expect(said).toContainEqual(['event', 'Shutdown'])
    expect(text).toMatch(/\["shutting down",true\].*\["held",false\].*\["state",\["startTime","endTime"\]\]/)
    expect(text).toMatch(/\["shutting down",false\].*\["held",true\]\]$/)
  },
)
