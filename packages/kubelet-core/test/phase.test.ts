import type { ContainerStatus, Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { podPhase } from '../src/pod/phase.ts'

const status = (
  name: string,
  state: ContainerStatus['state'],
  lastExit?: number,
  started = false,
): ContainerStatus => ({
  name,
  image: 'x',
  imageID: '',
  ready: false,
  restartCount: 0,
  started,
  ...(state && { state }),
  ...(lastExit !== undefined && { lastState: { terminated: { exitCode: lastExit } } }),
})
const running = { running: {} }
const waiting = { waiting: { reason: 'PodInitializing' } }
const ended = (exitCode: number) => ({ terminated: { exitCode } })

type Policy = 'Always' | 'OnFailure' | 'Never'
const pod = (restartPolicy: Policy, regular: string[], init: { name: string; restartPolicy?: string }[] = []): Pod => ({
  spec: { restartPolicy, containers: regular.map((name) => ({ name })), initContainers: init },
})
const one = (policy: Policy) => pod(policy, ['a'])
const withInit = (policy: Policy) => pod(policy, ['a'], [{ name: 'i' }])
const withSidecar = pod('Always', ['a'], [{ name: 's', restartPolicy: 'Always' }])

test.each([
  ['no status yet', one('Always'), [], [], 'Pending'],
  ['waiting', one('Always'), [], [status('a', waiting)], 'Pending'],
  ['running', one('Always'), [], [status('a', running)], 'Running'],
  ['ended well, will run again', one('Always'), [], [status('a', ended(0))], 'Running'],
  ['ended well for good', one('OnFailure'), [], [status('a', ended(0))], 'Succeeded'],
  ['failed, will run again', one('OnFailure'), [], [status('a', ended(1))], 'Running'],
  ['failed for good', one('Never'), [], [status('a', ended(1))], 'Failed'],
  ['in back-off', one('Always'), [], [status('a', waiting, 1)], 'Running'],
  [
    'crash loop beside a running one',
    pod('Always', ['a', 'b']),
    [],
    [status('a', waiting, 1), status('b', running)],
    'Running',
  ],
  ['running beside one without status', pod('Always', ['a', 'b']), [], [status('a', running)], 'Pending'],
  ['mixed ends', pod('Never', ['a', 'b']), [], [status('a', ended(0)), status('b', ended(1))], 'Failed'],
  ['init runs', withInit('Always'), [status('i', running)], [status('a', waiting)], 'Pending'],
  ['init failed, retried', withInit('Always'), [status('i', ended(1))], [status('a', waiting)], 'Pending'],
  ['init failed for good', withInit('Never'), [status('i', ended(1))], [status('a', waiting)], 'Failed'],
  ['init done', withInit('Always'), [status('i', ended(0))], [status('a', running)], 'Running'],
  ['sidecar not started', withSidecar, [status('s', running)], [status('a', waiting)], 'Pending'],
  ['sidecar started', withSidecar, [status('s', running, undefined, true)], [status('a', running)], 'Running'],
] as const)('%s', (_, given, initContainerStatuses, containerStatuses, expected) => {
  expect(
    podPhase(given, { initContainerStatuses: [...initContainerStatuses], containerStatuses: [...containerStatuses] }),
  ).toBe(expected)
})

test('a pod being torn down ends by its exit codes, whatever the policy', () => {
  expect(podPhase(one('Always'), { terminal: true, containerStatuses: [status('a', ended(0))] })).toBe('Succeeded')
  expect(podPhase(one('Always'), { terminal: true, containerStatuses: [status('a', ended(137))] })).toBe('Failed')
  expect(podPhase(one('Always'), { terminal: true, static: true, containerStatuses: [status('a', ended(0))] })).toBe(
    'Running',
  )
})
