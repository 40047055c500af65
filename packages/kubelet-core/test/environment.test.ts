import fc from 'fast-check'
import { expect, test } from 'vitest'
import { expand, literalEnvironment, serviceEnvironment } from '../src/pod/environment.ts'

const known = new Map([
  ['A', 'one'],
  ['EMPTY', ''],
])

test.each([
  ['$(A)', 'one'],
  ['x$(A)y$(A)', 'xoneyone'],
  ['$(EMPTY)', ''],
  ['$(NOBODY)', '$(NOBODY)'],
  ['$$(A)', '$(A)'],
  ['$$$(A)', '$one'],
  ['$A', '$A'],
  ['$(A', '$(A'],
  ['price: 5$', 'price: 5$'],
])('%j becomes %j', (text, expected) => {
  expect(expand(text, known)).toBe(expected)
})

test('text without a dollar sign stays', () => {
  fc.assert(fc.property(fc.string(), (text) => expand(text.replaceAll('$', ''), known) === text.replaceAll('$', '')))
})

test('a variable sees those before it, then those of Services', () => {
  const env = literalEnvironment(
    [
      { name: 'LATE', value: '$(FIRST)' },
      { name: 'FIRST', value: 'x' },
      { name: 'SECOND', value: '$(FIRST)-$(HOST)' },
    ],
    new Map([['HOST', '10.0.0.1']]),
  )
  expect([...env]).toEqual([
    ['LATE', '$(FIRST)'],
    ['FIRST', 'x'],
    ['SECOND', 'x-10.0.0.1'],
  ])
})

const service = (namespace: string, name: string, clusterIP: string) => ({
  metadata: { namespace, name },
  spec: {
    clusterIP,
    ports: [
      { name: 'http-web', port: 80 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  },
})

test('Service variables', () => {
  const all = [
    service('shop', 'my-app', '10.96.0.7'),
    service('other', 'far', '10.96.0.8'),
    service('shop', 'headless', 'None'),
  ]
  expect(Object.fromEntries(serviceEnvironment(all, 'shop'))).toEqual({
    MY_APP_SERVICE_HOST: '10.96.0.7',
    MY_APP_SERVICE_PORT: '80',
    MY_APP_SERVICE_PORT_HTTP_WEB: '80',
    MY_APP_SERVICE_PORT_DNS: '53',
    MY_APP_PORT: 'tcp://10.96.0.7:80',
    MY_APP_PORT_80_TCP: 'tcp://10.96.0.7:80',
    MY_APP_PORT_80_TCP_PROTO: 'tcp',
    MY_APP_PORT_80_TCP_PORT: '80',
    MY_APP_PORT_80_TCP_ADDR: '10.96.0.7',
    MY_APP_PORT_53_UDP: 'udp://10.96.0.7:53',
    MY_APP_PORT_53_UDP_PROTO: 'udp',
    MY_APP_PORT_53_UDP_PORT: '53',
    MY_APP_PORT_53_UDP_ADDR: '10.96.0.7',
  })
})

test('without service links only the API server is told of', () => {
  const all = [service('shop', 'my-app', '10.96.0.7'), service('default', 'kubernetes', '10.96.0.1')]
  expect(serviceEnvironment(all, 'shop', false).get('KUBERNETES_SERVICE_HOST')).toBe('10.96.0.1')
  expect(serviceEnvironment(all, 'shop', false).has('MY_APP_SERVICE_HOST')).toBe(false)
  expect(serviceEnvironment([service('default', 'kubernetes', 'fd00::1')], 'shop').get('KUBERNETES_PORT')).toBe(
    'tcp://[fd00::1]:80',
  )
})
