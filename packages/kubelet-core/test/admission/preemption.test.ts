// Who must end for a critical pod.
import fc from 'fast-check'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, it, test } from 'vitest'
import { isPreemptible } from '../../src/admission/critical.ts'
import { shortagesOf } from '../../src/admission/node-fit.ts'
import { victimsFor } from '../../src/admission/preemption.ts'
import { qosClass } from '../../src/resource/qos.ts'

const pod = (name: string, resources: object = {}, spec: object = {}): Pod => ({
  metadata: { name, uid: name },
  spec: { containers: [{ name: 'main', resources }], ...spec },
})
const critical = (resources: object): Pod => pod('critical', resources, { priority: 2_000_000_000 })
const burstable = (name: string, cpu: string, memory: string): Pod => pod(name, { requests: { cpu, memory } })
const guaranteed = (name: string, cpu: string, memory: string): Pod => pod(name, { limits: { cpu, memory } })
const node = { cpu: '1', memory: '1Gi', pods: '10' }

describe('victims', () => {
  test.each<[string, Pod, Pod[], string[]?]>([
    ['no shortage: nobody', critical({}), [burstable('a', '500m', '0')], []],
    [
      'a place: the best effort pod',
      critical({ requests: { cpu: '10m' } }),
      [...Array.from({ length: 9 }, (_, index) => guaranteed(`g${index}`, '1m', '1Mi')), pod('b')],
      ['b'],
    ],
    [
      'the one that comes nearest',
      critical({ requests: { cpu: '500m' } }),
      [burstable('small', '100m', '0'), burstable('right', '500m', '0'), burstable('more', '400m', '0')],
      ['right'],
    ],
    [
      'of equals the one with less memory',
      critical({ requests: { cpu: '500m' } }),
      [burstable('large', '500m', '300Mi'), burstable('lean', '500m', '100Mi')],
      ['lean'],
    ],
    [
      'burstable before guaranteed, though it takes more of them',
      critical({ requests: { cpu: '500m' } }),
      [guaranteed('g', '500m', '10Mi'), burstable('b1', '250m', '0'), burstable('b2', '250m', '0')],
      ['b1', 'b2'],
    ],
    ['not even all are enough', critical({ requests: { cpu: '2' } }), [burstable('a', '500m', '0')]],
    [
      'critical ones are spared',
      critical({ requests: { cpu: '1' } }),
      [pod('dns', { requests: { cpu: '500m' } }, { priority: 2_000_000_000 })],
    ],
  ])('%s', (_title, wanted, active, expected) => {
    const found = victimsFor(wanted, active, shortagesOf(wanted, active, node))
    expect(found?.map(({ metadata }) => metadata?.name).toSorted()).toEqual(expected?.toSorted())
  })

  it('make room, are preemptible, and no guaranteed one ends where others would do', () => {
    const amount = (most: number) => fc.integer({ min: 0, max: most })
    const one = fc
      .record({ cpu: amount(400), memory: amount(300), kind: fc.constantFrom('requests', 'limits', 'none') })
      .map(({ cpu, memory, kind }) => (kind === 'none' ? {} : { [kind]: { cpu: `${cpu}m`, memory: `${memory}Mi` } }))
    fc.assert(
      fc.property(fc.array(one, { maxLength: 10 }), amount(900), amount(900), (resources, cpu, memory) => {
        const active = resources.map((each, index) => pod(`p${index}`, each))
        const wanted = critical({ requests: { cpu: `${cpu}m`, memory: `${memory}Mi` } })
        const without = (gone: readonly Pod[]) => {
          const left = active.filter((each) => !gone.includes(each))
          return shortagesOf(wanted, left, node)
        }
        const found = victimsFor(wanted, active, without([]))
        if (!found) {
          expect(without(active)).not.toEqual([])
          return
        }
        expect(without(found)).toEqual([])
        expect(found.every((each) => isPreemptible(wanted, each))).toBe(true)
        const lesser = active.filter((each) => qosClass(each) !== 'Guaranteed')
        if (without(lesser).length === 0) expect(found.every((each) => qosClass(each) !== 'Guaranteed')).toBe(true)
      }),
    )
  })
})

test.each<[Pod, Pod, boolean]>([
  [critical({}), pod('a'), true],
  [critical({}), critical({}), false],
  [pod('a', {}, { priority: 2 }), pod('b', {}, { priority: 1 }), true],
  [pod('a', {}, { priority: 1 }), pod('b', {}, { priority: 1 }), false],
  [pod('a'), pod('b', {}, { priority: 1 }), false],
])('may make room: %#', (wanted, held, expected) => expect(isPreemptible(wanted, held)).toBe(expected))
