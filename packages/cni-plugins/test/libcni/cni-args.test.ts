import fc from 'fast-check'
import { expect, test } from 'vitest'
import { argsOf, parseArgs, printArgs } from '../../src/libcni/cni-args.ts'

test('what is printed is read again', () => {
  const key = fc.stringMatching(/^[^=;]+$/).filter((text) => text !== '__proto__')
  const value = fc.stringMatching(/^[^=;]*$/)
  fc.assert(
    fc.property(fc.dictionary(key, value), (args) => {
      expect(parseArgs(printArgs(args))).toEqual({ ...args })
    }),
  )
})

test.each(['a', 'a=b=c', '=b', 'a=b;'])('%j is refused', (text) => {
  expect(() => parseArgs(text)).toThrow('CNI_ARGS: invalid pair')
})

test('what cannot be told is refused', () => {
  expect(() => printArgs({ a: 'b;c=d' })).toThrow('CNI_ARGS: invalid pair "a=b;c=d"')
})

test('what is asked for comes with what the pod is', () => {
  const pod = { namespace: 'default', name: 'web', uid: 'u' }
  expect(printArgs(argsOf({ pod, containerId: 'c', args: { IP: '10.0.0.9' } }))).toBe(
    'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u;IP=10.0.0.9',
  )
})
