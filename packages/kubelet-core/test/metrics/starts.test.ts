// What is measured of pods: starts, ends, resizes; labels that stay few.
import { uptime } from 'node:os'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import { imageSizeLabel } from '../../src/metrics/image-size.ts'
import { createKubeletMetrics } from '../../src/metrics/kubelet-metrics.ts'
import { measureStartup } from '../../src/metrics/node-startup.ts'
import { countRequested, countUnderWay } from '../../src/metrics/resize-metrics.ts'
import type { NodeStep } from '../../src/node/node-agent.ts'
import { createStartTimes } from '../../src/pod/start-times.ts'
import type { ObservedStatus } from '../../src/pod/status.ts'
import { newlyTerminated } from '../../src/pod/terminated.ts'
import { requestLabels } from '../../src/server/measure.ts'

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString()
const ms = (second: number) => Date.parse(at(second))
const podOf = (more: object = {}, status?: object): Pod => ({
  metadata: { name: 'a', uid: 'u', creationTimestamp: at(0) },
  spec: { containers: [{ name: 'main' }], ...more },
  ...(status && { status }),
})
const main = (state: object) => ({ name: 'main', ready: true, restartCount: 0, image: '', imageID: '', state })
const running = { containerStatuses: [main({ running: { startedAt: at(20) } })] } as ObservedStatus

it('a start is measured once, and counts neither pulls nor init containers as its own', () => {
  const times = createStartTimes()
  times.begin('u')
  times.pulled('u', { beganMs: ms(1), endedMs: ms(6) })
  times.pulled('u', { beganMs: ms(4), endedMs: ms(8) })
  const waiting = { containerStatuses: [main({ waiting: { reason: 'ContainerCreating' } })] } as ObservedStatus
  expect(times.written(podOf(), waiting, ms(9))).toBeUndefined()
  const init = { ...main({ terminated: { exitCode: 0, startedAt: at(7), finishedAt: at(10) } }), name: 'init' }
  const status = { ...running, initContainerStatuses: [init] } as ObservedStatus
  expect(times.written(podOf(), status, ms(21))).toEqual({ totalSeconds: 21, ownSeconds: 12 })
  expect(times.written(podOf(), status, ms(30))).toBeUndefined()
  times.begin('u')
  expect(times.written(podOf(), running, ms(22))).toEqual({ totalSeconds: 22, ownSeconds: 22 })
})

it.each([
  ['that ran before', podOf({}, running)],
  ['with volumes that others bring', podOf({ volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'c' } }] })],
])('no start is measured of a pod %s', (_what, pod) => {
  const times = createStartTimes()
  times.begin('u')
  expect(times.written(pod, running, ms(22))).toBeUndefined()
  times.pulled('other', { beganMs: 0, endedMs: 1 })
  expect(times.written(podOf(), running, ms(22))).toBeUndefined()
})

it('a new node is measured once, when it is first ready; one that was there before is not', async () => {
  const metrics = createKubeletMetrics()
  let nowMs = 1_000_000
  const seconds = async (name: string) =>
    (await metrics.registry.getSingleMetric(`kubelet_node_startup_${name}duration_seconds`)?.get())?.values[0]?.value
  const step = measureStartup(metrics, { now: () => nowMs })
  const next = (name: NodeStep, ms: number) => {
    nowMs += ms
    step(name)
  }
  next('ready', 10)
  next('asked', 2000)
  next('asked', 1000) // the first try did not come through
  expect(await seconds('')).toBe(0)
  next('made', 3000)
  next('ready', 5000)
  next('ready', 7000)
  next('made', 1000)
  next('ready', 1000)
  expect(await seconds('pre_kubelet_')).toBeCloseTo(uptime(), -1)
  expect(await seconds('pre_registration_')).toBe(2.01)
  expect(await seconds('registration_')).toBe(4)
  expect(await seconds('post_registration_')).toBe(5)
  expect(await seconds('')).toBeCloseTo(uptime() + 11, -1)
})

it('each container ends once, also when its end moves on to be the last state', () => {
  const ended = { terminated: { exitCode: 139, reason: 'Error', containerID: 'x://1' } }
  const first = { containerStatuses: [main(ended)] } as ObservedStatus
  expect(newlyTerminated(running, first)).toEqual([{ kind: 'container', exitCode: 139, reason: 'Error' }])
  const again = { containerStatuses: [{ ...main({ running: {} }), lastState: ended }] } as ObservedStatus
  expect(newlyTerminated(first, again)).toEqual([])
  expect(newlyTerminated(undefined, again)).toHaveLength(1)
  const init = { initContainerStatuses: [main({ terminated: { exitCode: 0, containerID: 'x://2' } })] }
  expect(newlyTerminated(again, init as ObservedStatus)).toEqual([{ kind: 'init_container', exitCode: 0, reason: '' }])
})

it.each([
  ['GET', '/metrics/cadvisor', 'GET', 'metrics/cadvisor', 'false'],
  ['GET', '/metrics/made-up', 'GET', 'other', 'false'],
  ['POST', '/exec/ns/pod/main', 'POST', 'exec', 'true'],
  ['BREW', '/pods', 'other', 'pods', 'false'],
  ['GET', '/%00/..', 'GET', 'other', 'false'],
  ['GET', '/stats/summary', 'GET', 'stats', 'false'],
])('labels of %s %s', (method, path, ...expected) => {
  const labels = requestLabels(method, path, 'readwrite')
  expect([labels.method, labels.path, labels.long_running]).toEqual(expected)
})

it.each([
  [0n, 'N/A'],
  [5n << 20n, '0-10MB'],
  [10n << 20n, '10MB-100MB'],
  [700n << 20n, '500MB-1GB'],
  [200n << 30n, 'GT100GB'],
])('an image of %s bytes is one of %s', (bytes, label) => {
  expect(imageSizeLabel(bytes)).toBe(label)
})

it('resizes are counted by what they change, and by how far they are', async () => {
  const metrics = createKubeletMetrics()
  const amounts = (cpu?: string, memory?: string) => ({ requests: { ...(cpu && { cpu }), ...(memory && { memory }) } })
  countRequested(metrics, { a: amounts('1', '1Gi'), b: amounts() }, { a: amounts('500m', '1024Mi'), b: amounts('1') })
  const condition = (type: string, reason?: string) => ({ type, status: 'True', ...(reason && { reason }) })
  countUnderWay(metrics, [
    podOf({}, { conditions: [condition('PodResizePending', 'Deferred')] }),
    podOf({}, { conditions: [condition('PodResizeInProgress'), condition('PodResizePending', 'Infeasible')] }),
  ])
  const samples = (name: string) => metrics.registry.getSingleMetric(name)?.get()
  expect((await samples('kubelet_container_requested_resizes_total'))?.values).toEqual([
    { labels: { resource: 'cpu', requirement: 'requests', operation: 'decrease' }, value: 1 },
    { labels: { resource: 'cpu', requirement: 'requests', operation: 'add' }, value: 1 },
  ])
  expect((await samples('kubelet_pod_pending_resizes'))?.values).toEqual([
    { labels: { reason: 'deferred' }, value: 1 },
    { labels: { reason: 'infeasible' }, value: 1 },
  ])
  expect((await samples('kubelet_pod_in_progress_resizes'))?.values).toEqual([{ labels: {}, value: 1 }])
})
