// Volumes that tell how full they are: when they are asked, and what is shown of it.
import type { VolumeStats } from '@nodelet/csi-node'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import { createKubeletMetrics } from '../../src/metrics/kubelet-metrics.ts'
import { showVolumes } from '../../src/metrics/volume-metrics.ts'
import { volumeJson } from '../../src/stats/pod-summary.ts'
import { blockStats, createVolumeMeter, type MeterableVolume } from '../../src/storage/meter.ts'
import { parseMetrics } from '../metrics/parser.ts'

const bytes = { total: 100, available: 60, used: 40 }
const inodes = { total: 10, available: 7, used: 3 }
const condition = { abnormal: true, message: 'on fire' }
const pod: Pod = { metadata: { name: 'web', namespace: 'shop', uid: 'u1' } }
const claim = { name: 'data', namespace: 'shop' }

function open(more: { periodMs?: number; tellsHealth?: boolean } = {}) {
  const timers = new Map<() => void, number>()
  const told: string[] = []
  const meter = createVolumeMeter({
    periodMs: 1000,
    tellsHealth: false,
    tell: (_, { type, reason, message }) => void told.push(`${type} ${reason} ${message}`),
    measured: () => {},
    clock: {
      now: () => Date.UTC(2026, 0, 2),
      after(ms, call) {
        timers.set(call, ms)
        return () => timers.delete(call)
      },
    },
    log: { debug() {}, info() {}, warn() {}, error() {} } as never,
    ...more,
  })
  const tick = (): void => {
    const due = [...timers.keys()]
    timers.clear()
    for (const call of due) call()
  }
  return { meter, timers, told, tick }
}

const volume = (name: string, measure: MeterableVolume['measure']): MeterableVolume => ({
  name,
  claim,
  source: 'disk.example.com',
  measure,
})

it('a volume that hangs holds up no other, and is not asked twice; one that fails is not shown until it answers again', async () => {
  const { meter, timers, tick } = open()
  const answers: (VolumeStats | Error | undefined)[] = [{ bytes }, new Error('ouch'), undefined, { bytes, inodes }]
  let [hanging, ended] = [0, false]
  meter.follow(
    pod,
    volume('stuck', async (signal) => {
      hanging++
      signal.addEventListener('abort', () => (ended = true))
      return new Promise(() => {})
    }),
  )
  const good = volume('good', async () => {
    const answer = answers.shift()
    if (answer instanceof Error) throw answer
    return answer
  })
  meter.follow(pod, good)
  meter.follow(pod, good)
  const shown: unknown[] = []
  for (let left = 4; left > 0; left--) {
    await expect.poll(() => timers.size).toBe(1)
    const [wait = 0] = timers.values()
    expect(wait >= 1000 && wait < 2000).toBe(true)
    shown.push(meter.of('u1').map(({ name, stats }) => [name, stats]))
    tick()
  }
  expect(shown).toEqual([[['good', { bytes }]], [], [], [['good', { bytes, inodes }]]])
  expect([hanging, meter.of('other'), ended]).toEqual([1, [], false])
  meter.release('u1')
  expect([ended, meter.all()]).toEqual([true, []])
})

it('the condition of a volume is told only where the gate is open; a period of 0 measures nothing', async () => {
  const sick = volume('sick', async () => ({ bytes, condition }))
  for (const tellsHealth of [false, true]) {
    const { meter, timers, told } = open({ tellsHealth })
    meter.follow(pod, sick)
    await expect.poll(() => timers.size).toBe(1)
    expect(told).toEqual(tellsHealth ? ['Warning VolumeConditionAbnormal Volume sick: on fire'] : [])
    expect(meter.all()[0]?.stats).toEqual({ bytes, ...(tellsHealth && { condition }) })
    meter.close()
    expect([timers.size, meter.all()]).toEqual([0, []])
  }
  const { meter } = open({ periodMs: 0 })
  let asked = false
  meter.follow(
    pod,
    volume('v', async () => {
      asked = true
      return { bytes }
    }),
  )
  expect([asked, meter.all()]).toEqual([false, []])
})

it('what the summary and the metrics say; what a driver does not tell is left out', async () => {
  const timeMs = Date.UTC(2026, 0, 2)
  const full = { name: 'v', claim, timeMs, stats: { bytes, inodes, condition } }
  expect(volumeJson(full)).toEqual({
    time: '2026-01-02T00:00:00Z',
    name: 'v',
    pvcRef: claim,
    availableBytes: 60,
    capacityBytes: 100,
    usedBytes: 40,
    inodes: 10,
    inodesFree: 7,
    inodesUsed: 3,
    volumeHealthStats: { abnormal: true },
  })
  const inline = { name: 'd', claim: undefined, timeMs, stats: { bytes } }
  expect(Object.keys(volumeJson(inline))).toEqual(['time', 'availableBytes', 'capacityBytes', 'usedBytes', 'name'])
  // Of a block device only what it holds is known, whatever its driver says.
  const device = {
    name: 'b',
    claim: { ...claim, name: 'raw' },
    timeMs,
    stats: blockStats({ bytes, inodes, condition }),
  }
  expect(volumeJson(device)).toEqual({
    time: '2026-01-02T00:00:00Z',
    name: 'b',
    pvcRef: device.claim,
    capacityBytes: 100,
    volumeHealthStats: { abnormal: true },
  })

  const metrics = createKubeletMetrics()
  const page = async () =>
    [...parseMetrics(await metrics.registry.metrics())]
      .filter(([name]) => name.startsWith('kubelet_volume_stats_'))
      .flatMap(([name, { samples }]) => samples.map(({ labels, value }) => [name.slice(21), labels, value]))
  showVolumes(metrics, [full, inline, full])
  const labels = { namespace: 'shop', persistentvolumeclaim: 'data' }
  expect(await page()).toEqual([
    ['capacity_bytes', labels, 100],
    ['available_bytes', labels, 60],
    ['used_bytes', labels, 40],
    ['inodes', labels, 10],
    ['inodes_free', labels, 7],
    ['inodes_used', labels, 3],
    ['health_status_abnormal', labels, 1],
  ])
  showVolumes(metrics, [device])
  const raw = { ...labels, persistentvolumeclaim: 'raw' }
  expect(await page()).toEqual([
    ['capacity_bytes', raw, 100],
    ['health_status_abnormal', raw, 1],
  ])
  showVolumes(metrics, [])
  expect(await page()).toEqual([])
})
