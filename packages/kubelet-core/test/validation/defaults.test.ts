// What the API server would fill in.
import { describe, expect, it } from 'vitest'
import { withDefaults } from '../../src/source/defaults.ts'
import { decodePod } from '../../src/validation/decode.ts'

const filled = (spec: object) => withDefaults(decodePod({ spec: { containers: [], ...spec } }).pod).spec
const container = (fields: object, spec: object = {}) =>
  filled({ ...spec, containers: [{ name: 'a', image: 'i', ...fields }] })?.containers[0]

describe('defaults', () => {
  it('of a pod', () =>
    expect(filled({ restartPolicy: '', terminationGracePeriodSeconds: 0, enableServiceLinks: false })).toEqual({
      containers: [],
      restartPolicy: 'Always',
      dnsPolicy: 'ClusterFirst',
      schedulerName: 'default-scheduler',
      terminationGracePeriodSeconds: 0,
      enableServiceLinks: false,
      securityContext: {},
    }))
  it('of a pod that says nothing', () =>
    expect(filled({})).toMatchObject({ terminationGracePeriodSeconds: 30, enableServiceLinks: true }))
  it('of a container', () =>
    expect(container({})).toEqual({
      name: 'a',
      image: 'i',
      imagePullPolicy: 'Always',
      terminationMessagePath: '/dev/termination-log',
      terminationMessagePolicy: 'File',
      resources: {},
    }))
  it.each([
    ['a:1', 'IfNotPresent'],
    ['a:latest', 'Always'],
    [`a@sha256:${'0'.repeat(64)}`, 'IfNotPresent'],
    [`a:latest@sha256:${'0'.repeat(64)}`, 'Always'],
    ['UPPER', 'IfNotPresent'],
  ])('the image %s is pulled %s', (image, policy) => {
    expect(container({ image })?.imagePullPolicy).toBe(policy)
    const volume = filled({ volumes: [{ name: 'v', image: { reference: image } }] })?.volumes?.[0]
    expect(volume).toMatchObject({ image: { pullPolicy: policy } })
  })
  it('of probes and hooks; zero is none', () => {
    const http = { httpGet: { port: 1, path: '/', scheme: 'HTTP' } }
    const times = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 }
    expect(
      container({
        livenessProbe: { httpGet: { port: 1 }, timeoutSeconds: 0 },
        readinessProbe: { grpc: { port: 1 }, successThreshold: 2 },
        startupProbe: { exec: { command: ['a'] }, periodSeconds: 5 },
        lifecycle: { postStart: { httpGet: { port: 1 } }, preStop: { httpGet: { port: 1, scheme: 'HTTPS' } } },
      }),
    ).toMatchObject({
      livenessProbe: { ...http, ...times },
      readinessProbe: { grpc: { port: 1, service: '' }, ...times, successThreshold: 2 },
      startupProbe: { ...times, periodSeconds: 5 },
      lifecycle: { postStart: http, preStop: { httpGet: { port: 1, path: '/', scheme: 'HTTPS' } } },
    })
  })
  it('of ports, which on the network of the host are its own', () => {
    const ports = [{ containerPort: 80 }, { containerPort: 53, protocol: 'UDP', hostPort: 53 }]
    expect(container({ ports })?.ports).toEqual([{ containerPort: 80, protocol: 'TCP' }, ports[1]])
    const ofHost = filled({ hostNetwork: true, initContainers: [{ name: 'a', ports }] })
    expect(ofHost?.initContainers?.[0]?.ports?.[0]).toEqual({ containerPort: 80, hostPort: 80, protocol: 'TCP' })
  })
  it('of references to fields', () => {
    const items = [{ path: 'a', fieldRef: { fieldPath: 'metadata.name' } }]
    const full = [{ path: 'a', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } }]
    const env = [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }]
    expect(container({ env })?.env).toEqual([{ name: 'A', valueFrom: { fieldRef: full[0]?.fieldRef } }])
    const volumes = [
      { name: 'a', downwardAPI: { items } },
      { name: 'b', projected: { sources: [{ downwardAPI: { items } }] } },
    ]
    expect(filled({ volumes })?.volumes).toEqual([
      { name: 'a', downwardAPI: { defaultMode: 0o644, items: full } },
      { name: 'b', projected: { defaultMode: 0o644, sources: [{ downwardAPI: { items: full } }] } },
    ])
  })
  it('of volumes', () =>
    expect(
      filled({
        volumes: [
          { name: 'a' },
          { name: 'b', hostPath: { path: '/b' } },
          { name: 'c', iscsi: { targetPortal: 'p', iqn: 'q', lun: 0 } },
        ],
      })?.volumes,
    ).toEqual([
      { name: 'a', emptyDir: {} },
      { name: 'b', hostPath: { path: '/b', type: '' } },
      { name: 'c', iscsi: { targetPortal: 'p', iqn: 'q', lun: 0, iscsiInterface: 'default' } },
    ]))
  it('what is limited is requested', () =>
    expect(container({ resources: { limits: { cpu: 2, memory: '1Gi' }, requests: { cpu: '1' } } })?.resources).toEqual({
      limits: { cpu: '2', memory: '1Gi' },
      requests: { cpu: '1', memory: '1Gi' },
    }))
  const pages = { 'hugepages-2Mi': '4194304' }
  it.each([
    [{}, {}],
    [{ requests: { cpu: '2' } }, { requests: { cpu: '2', ...pages }, limits: pages }],
    [
      { limits: { cpu: '4', memory: '1Gi' } },
      { limits: { cpu: '4', memory: '1Gi', ...pages }, requests: { cpu: '1500m', memory: '1Gi', ...pages } },
    ],
  ])('of the resources %j of a pod', (resources, expected) => {
    const own = (cpu: string): object => ({ requests: { cpu }, limits: { 'hugepages-2Mi': '2Mi' } })
    const containers = [own('1'), own('500m')].map((one, index) => ({ name: `c${index}`, image: 'i', resources: one }))
    expect(filled({ resources, containers })).toHaveProperty('resources', expected)
  })
})
