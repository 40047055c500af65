import { describe, expect, it } from 'vitest'
import { asksRecursive, hasReadOnlySource, isRecursive, isWritten } from '../src/pod/mount-rules.ts'

const mount = (recursiveReadOnly?: string, more: object = {}) => ({
  name: 'data',
  mountPath: '/data',
  readOnly: true,
  ...(recursiveReadOnly !== undefined && { recursiveReadOnly }),
  ...more,
})

describe('recursive read-only mounts', () => {
  it.each([
    ['not asked for', mount(), [false, false]],
    ['Disabled', mount('Disabled', { readOnly: false }), [false, false]],
    ['IfPossible', mount('IfPossible'), [false, true]],
    ['IfPossible, propagation None', mount('IfPossible', { mountPropagation: 'None' }), [false, true]],
    ['Enabled where it is there', mount('Enabled'), [undefined, true]],
  ])('%s', (_, one, [without, withIt]) => {
    if (without !== undefined) expect(isRecursive(one, false)).toBe(without)
    expect(isRecursive(one, true)).toBe(withIt)
  })

  it.each([
    ['Enabled', {}, false, 'supported by the runtime'],
    ['Enabled', { readOnly: false }, true, 'read-only'],
    ['IfPossible', { readOnly: false }, false, 'read-only'],
    ['IfPossible', { mountPropagation: 'HostToContainer' }, true, 'compatible with propagation "HostToContainer"'],
  ])('%s with %j is refused', (mode, more, canRecurse, reason) => {
    expect(() => isRecursive(mount(mode, more), canRecurse)).toThrow(
      `volume "data" requested recursive read-only mode, but it is not ${reason}`,
    )
  })

  it('an unknown mode is refused; who asks is known', () => {
    expect(() => isRecursive(mount('Often'), true)).toThrow('unknown recursive read-only mode "Often"')
    expect(asksRecursive({ name: 'a', volumeMounts: [mount('Disabled'), mount()] })).toBe(false)
    expect(asksRecursive({ name: 'a', volumeMounts: [mount('IfPossible')] })).toBe(true)
  })
})

describe('volumes that no container writes to', () => {
  it.each<[boolean, object]>([
    [true, { configMap: { name: 'm' } }],
    [true, { secret: { secretName: 's' } }],
    [true, { downwardAPI: {} }],
    [true, { projected: { sources: [] } }],
    [true, { persistentVolumeClaim: { claimName: 'c', readOnly: true } }],
    [true, { csi: { driver: 'd', readOnly: true } }],
    [true, { gcePersistentDisk: { pdName: 'd', readOnly: true } }],
    [false, { persistentVolumeClaim: { claimName: 'c' } }],
    [false, { csi: { driver: 'd', readOnly: false } }],
    [false, { emptyDir: {} }],
    [false, { hostPath: { path: '/' } }],
  ])('%s for %j', (expected, source) => {
    const volume = { name: 'v', ...source }
    expect(isWritten(volume) || hasReadOnlySource(volume)).toBe(expected)
  })
  it('one that is not known is none', () =>
    expect([isWritten(undefined), hasReadOnlySource(undefined)]).toEqual([false, false]))
  it('the node writes none that is only said to be read', () =>
    expect(isWritten({ name: 'v', nfs: { server: 's', path: '/', readOnly: true } })).toBe(false))
})
