// Swap of containers: none, unless the node says otherwise and the pod may have some.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { type SwapFacts, swapValues } from '../src/resource/swap.ts'

const Gi = 1024n ** 3n
const pod = (resources: object, spec: object = {}): Pod => ({
  spec: { containers: [{ name: 'main', resources }], ...spec },
})
const burstable = { requests: { memory: '1Gi' }, limits: { memory: '2Gi' } }
const facts: SwapFacts = { behavior: 'LimitedSwap', swapBytes: 8n * Gi, memoryBytes: 16n * Gi }

test.each<[string, Pod, Partial<SwapFacts>, bigint]>([
  ['in proportion to the request', pod(burstable), {}, Gi / 2n],
  ['without a limit too', pod({ requests: { memory: '1Gi' } }), {}, Gi / 2n],
  ['none by default', pod(burstable), { behavior: '' }, 0n],
  ['none with NoSwap', pod(burstable), { behavior: 'NoSwap' }, 0n],
  ['none for guaranteed pods', pod({ limits: { cpu: '1', memory: '1Gi' } }), {}, 0n],
  ['none for best effort pods', pod({}), {}, 0n],
  ['none without a request for memory', pod({ requests: { cpu: '1' } }), {}, 0n],
  [
    'none when all that is allowed is asked for',
    pod({ requests: { memory: '1Gi' }, limits: { memory: '1Gi' } }),
    {},
    0n,
  ],
  ['none on a node that has none', pod(burstable), { swapBytes: 0n }, 0n],
  ['none for critical pods', pod(burstable, { priority: 2_000_000_000 }), {}, 0n],
])('%s', (_title, one, more, bytes) => {
  const [container] = one.spec?.containers ?? []
  expect(container && swapValues(one, container, { ...facts, ...more }, 2)).toEqual({
    unified: { 'memory.swap.max': String(bytes) },
  })
})

test('on cgroup v1 memory and swap together are limited to the memory', () => {
  const [limited, free] = [pod(burstable), pod({})].map((one) => {
    const [container] = one.spec?.containers ?? []
    return container && swapValues(one, container, facts, 1)
  })
  expect([limited, free]).toEqual([{ memorySwapLimitInBytes: 2n * Gi }, {}])
})
