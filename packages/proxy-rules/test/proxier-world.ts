// A small host, an API server and a proxy between them, for the tests of a file.
import { rmSync } from 'node:fs'
import type { Service, ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { createKubeClient } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import { startProxier } from '@nodelet/proxy-rules'
import type { Logger, Proxier, ProxierOptions } from '@nodelet/proxy-rules'
import { afterAll, afterEach, beforeAll, beforeEach, vi } from 'vitest'
import { startApiServer } from '../../kube-client/test/api-server.ts'
import type { ApiServer } from '../../kube-client/test/api-server.ts'
import { makeCertificates } from '../../kube-client/test/certificates.ts'
import type { Certificates } from '../../kube-client/test/certificates.ts'
import { hostIP, podIPs, startSmallHost } from './small-host.ts'
import type { Pod, SmallHost } from './small-host.ts'

export const clusterIP = '10.96.0.10'

export interface World {
  host: SmallHost
  server: ApiServer
  client: KubeClient
  proxier: Proxier | undefined
  /** Warnings and errors. */
  told: string[]
  start(rest?: Partial<ProxierOptions>): Promise<Proxier>
  putService(spec?: Partial<ServiceSpec>, name?: string, protocol?: string, vips?: readonly string[]): void
  putEndpoints(
    pods: readonly Pod[],
    name?: string,
    protocol?: string,
    nodeName?: string,
    annotations?: Record<string, string>,
  ): void
}

/** Asks until the answers are these, for the watch has to bring the change first. */
export const eventually = (look: () => Promise<void>): Promise<void> =>
  vi.waitFor(look, { timeout: 20_000, interval: 50 })

/** The host is made once, server and proxy for each test. Pods a and b answer on port 8080. */
export function useProxier(options: Partial<ProxierOptions> = {}): World {
  let certificates: Certificates
  const world = { told: [] as string[] } as World
  const tell = (fields: object, message: string): void =>
    void world.told.push(`${message} ${JSON.stringify(fields, errorText)}`)
  const log: Logger = { error: tell, warn: tell, info: () => {}, debug: () => {} }
  beforeAll(async () => {
    certificates = makeCertificates()
    world.host = await startSmallHost()
    await Promise.all([world.host.serve('a', 8080), world.host.serve('b', 8080)])
  })
  afterAll(() => {
    world.host?.end()
    rmSync(certificates.folder, { recursive: true })
  })
  beforeEach(async () => {
    world.told = []
    world.server = await startApiServer(certificates)
    world.server.tokens.add('t')
    world.client = createKubeClient({ server: world.server.url, ca: { pem: certificates.pem('ca.crt') }, token: 't' })
  })
  afterEach(async () => {
    await world.proxier?.cleanup()
    world.proxier = undefined
    await world.client.close()
    await world.server.close()
  })
  return Object.assign(world, {
    start: async (rest: Partial<ProxierOptions> = {}) => {
      world.proxier = await startProxier({
        client: world.client,
        nodeName: 'node',
        nodeIPs: [hostIP],
        localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.99.0.0/16'] },
        netns: world.host.netns,
        minSyncPeriodMs: 10,
        log,
        ...options,
        ...rest,
      })
      await world.proxier.synced()
      return world.proxier
    },
    putService: (spec: Partial<ServiceSpec> = {}, name = 'web', protocol = 'TCP', vips: readonly string[] = []) => {
      const service: Service = {
        metadata: { name, namespace: 'shop', uid: name },
        spec: { clusterIP, ports: [{ port: 80, protocol }], ...spec },
        status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
      }
      world.server.put(`/api/v1/namespaces/shop/services/${name}`, service)
    },
    putEndpoints: (pods: readonly Pod[], name = 'web', protocol = 'TCP', nodeName = 'node', annotations = {}) => {
      const slice: EndpointSlice = {
        metadata: {
          name: `${name}-1`,
          namespace: 'shop',
          uid: `${name}-1`,
          annotations,
          labels: { 'kubernetes.io/service-name': name },
        },
        addressType: 'IPv4',
        endpoints: pods.map((pod) => ({ addresses: [podIPs[pod]], conditions: { ready: true }, nodeName })),
        ports: [{ name: '', port: 8080, protocol }],
      }
      world.server.put(`/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/${name}-1`, slice)
    },
  })
}

const errorText = (_: string, value: unknown): unknown => (value instanceof Error ? value.message : value)
