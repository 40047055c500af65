import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import { rejectionOf } from '../src/pod/admission.ts'

const asks = (cpu: string, more: object = {}): Pod => ({
  spec: { containers: [{ name: 'main', image: 'i', resources: { requests: { cpu } }, ...more }] },
})
const uses = (hostPort: number, hostIP = '', protocol = 'TCP'): Pod =>
  asks('0', { ports: [{ containerPort: 80, hostPort, hostIP, protocol }] })
const allocatable = { cpu: '1200m', memory: '1Gi', pods: '3' }
const ports = { reason: 'NodePorts', message: expect.stringMatching(/^Predicate NodePorts failed: /) as string }

it.each([
  ['fits', asks('700m'), [asks('500m')], undefined],
  [
    'too much cpu',
    asks('1'),
    [asks('500m')],
    {
      reason: 'OutOfcpu',
      message: "Node didn't have enough resource: cpu, requested: 1000, used: 500, capacity: 1200",
    },
  ],
  ['nothing asked', asks('0'), [asks('2')], undefined],
  [
    'too many pods',
    asks('0'),
    [asks('0'), asks('0'), asks('0')],
    { reason: 'OutOfpods', message: "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3" },
  ],
  ['port taken', uses(80), [uses(80)], ports],
  ['port of another address', uses(80, '192.0.2.1'), [uses(80, '192.0.2.2')], undefined],
  ['port of all addresses', uses(80, '192.0.2.1'), [uses(80)], ports],
  ['port of another protocol', uses(80), [uses(80, '', 'UDP')], undefined],
])('%s', (_title, pod, active, expected) => {
  expect(rejectionOf(pod, active, allocatable)).toEqual(expected)
})
