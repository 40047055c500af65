// The whole path: the API server, scheduler and controllers of this repository → kubelet → runtime → processes.
import { spawn } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import {
  configMaps,
  deployments,
  events,
  isNotFound,
  type KubeClient,
  nodes,
  pods,
  strategicPatch,
} from '@nodelet/kube-client'
import type { Pod, PodCondition } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cgroupFolders } from '../../runtime-runc/test/fixture.ts'
import { parseMetrics } from './metrics/parser.ts'
import { signerName, startSigner } from './pod-signer.ts'
import { isReady, namespace, startWholeCluster, stay, type WholeCluster } from './whole-cluster.ts'

let world: WholeCluster
let admin: KubeClient
let shell: WholeCluster['shell']
let create: WholeCluster['create']
let watched: WholeCluster['watched']

beforeAll(async () => {
  world = await startWholeCluster({ configuration: { featureGates: { PodCertificateRequest: true } } })
  ;({ admin, shell, create, watched } = world)
})
afterAll(async () => world?.[Symbol.asyncDispose]())

it('the node is there and ready', async () => {
  const ready = async () =>
    (await admin.get(nodes, { name: 'node-1' })).status?.conditions?.find(({ type }) => type === 'Ready')
  // Its CSINode comes after it.
  await expect
    .poll(ready)
    .toMatchObject({ status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' })
  const node = await admin.get(nodes, { name: 'node-1' })
  expect(node.status?.daemonEndpoints?.kubeletEndpoint?.Port).toBe(world.kubelet.port)
})

it('a pod is scheduled, runs, tells its events, ends and is gone', async () => {
  await admin.create(configMaps, { metadata: { name: 'settings', namespace }, data: { greeting: 'hello' } })
  const began = performance.now()
  const created = await create('web', {
    containers: [
      shell(`echo $GREETING $(cat /settings/greeting); ${stay}`, {
        env: [{ name: 'GREETING', valueFrom: { configMapKeyRef: { name: 'settings', key: 'greeting' } } }],
        volumeMounts: [{ name: 'settings', mountPath: '/settings' }],
      }),
    ],
    volumes: [{ name: 'settings', configMap: { name: 'settings' } }],
  })
  const running = await watched(created, isReady)
  if (process.env['NODELET_LOG']) console.log('ready after', performance.now() - began)
  expect(running.status).toMatchObject({ phase: 'Running', qosClass: 'BestEffort' })
  const log = async (): Promise<string> =>
    (await admin.raw({ path: `/api/v1/namespaces/${namespace}/pods/web/log` })).body.text()
  await expect.poll(log).toBe('hello hello\n')
  const reasons = async (): Promise<(string | undefined)[]> => {
    const { items } = await admin.list(events, { namespace })
    return items.filter(({ involvedObject }) => involvedObject.name === 'web').map(({ reason }) => reason)
  }
  await expect.poll(reasons).toEqual(expect.arrayContaining(['Pulled', 'Created', 'Started']))
  await admin.delete(pods, { name: 'web', namespace })
  const gone = async (): Promise<boolean> =>
    admin.get(pods, { name: 'web', namespace }).then(
      () => false,
      (error: unknown) => isNotFound(error),
    )
  await expect.poll(gone, { interval: 20 }).toBe(true)
  await expect.poll(() => world.kubelet.pods().length).toBe(0)
})

it('a pod has a certificate of its own; when it is denied the pod waits and is told', async () => {
  await using signer = await startSigner(admin)
  const podCertificate = { signerName, keyType: 'ECDSAP256', credentialBundlePath: 'bundle.pem' }
  const spec = {
    containers: [shell(`cat /own/bundle.pem; ${stay}`, { volumeMounts: [{ name: 'own', mountPath: '/own' }] })],
    volumes: [{ name: 'own', projected: { sources: [{ podCertificate }] } }],
  }
  await watched(await create('certified', spec), isReady)
  const log = async (): Promise<string> =>
    (await admin.raw({ path: `/api/v1/namespaces/${namespace}/pods/certified/log` })).body.text()
  await expect.poll(log).toContain('END CERTIFICATE')
  const bundle = await log()
  const leaf = new X509Certificate(bundle.slice(bundle.indexOf('-----BEGIN CERTIFICATE')))
  expect([leaf.subject, leaf.checkPrivateKey(createPrivateKey(bundle))]).toEqual(['CN=certified', true])
  signer.answer = 'deny'
  await create('uncertified', spec)
  const told = async (): Promise<(string | undefined)[][]> => {
    const { items } = await admin.list(events, { namespace })
    return items
      .filter(({ involvedObject }) => involvedObject.name === 'uncertified')
      .map(({ reason, message }) => [reason, message])
  }
  const words = 'reason="UnsupportedKeyType" message="by the \\"deny\\" rule"'
  await expect.poll(told).toEqual(
    expect.arrayContaining([
      [
        'Denied',
        expect.stringMatching(/^PodCertificateRequest default\/req-\w+ was denied, reason="UnsupportedKeyType"/),
      ],
      [
        'FailedMount',
        `MountVolume.SetUp failed for volume "own" : PodCertificateRequest was permanently denied: ${words}`,
      ],
    ]),
  )
  const page = await (await admin.raw({ path: '/api/v1/nodes/node-1/proxy/metrics' })).body.text()
  for (const state of ['fresh', 'denied']) {
    expect(page).toContain(`kubelet_podcertificate_states{signer_name="${signerName}",state="${state}"} 1`)
  }
  for (const name of ['certified', 'uncertified']) await admin.delete(pods, { name, namespace })
  await expect.poll(() => world.kubelet.pods().length).toBe(0)
})

it('a pod is resized while it runs: cgroups change, the container stays; more than the node has is told', async () => {
  const sized = (cpu: string, memory: string) => ({ requests: { cpu, memory }, limits: { cpu, memory: '128Mi' } })
  const resize = async (cpu: string): Promise<void> => {
    const spec = { containers: [{ name: 'main', resources: { requests: { cpu }, limits: { cpu } } }] }
    await admin.patch(pods, { name: 'sized', namespace }, strategicPatch({ spec }), { subresource: 'resize' })
  }
  const read = async (): Promise<Pod> => admin.get(pods, { name: 'sized', namespace })
  const condition = async (wanted: string) =>
    (await read()).status?.conditions?.find(({ type }) => type === wanted) as PodCondition | undefined
  const created = await create('sized', { containers: [{ ...shell(stay), resources: sized('100m', '32Mi') }] })
  const before = await watched(created, isReady)
  const uid = created.metadata?.uid ?? ''
  const shares = (): number => {
    const files = cgroupFolders(`${world.f.cgroup}/kubepods/burstable/pod${uid}`).map((one) => join(one, 'cpu.shares'))
    return Number(readFileSync(files.find(existsSync) ?? '', 'utf8'))
  }

  expect(shares()).toBe(102)
  await resize('200m')
  await expect.poll(shares).toBe(204)
  const given = async () => (await read()).status?.containerStatuses?.[0]?.resources?.limits?.['cpu']
  await expect.poll(given).toBe('200m')
  await expect.poll(async () => condition('PodResizeInProgress')).toBeUndefined()
  const status = (await read()).status?.containerStatuses?.[0]
  expect(status).toMatchObject({ restartCount: 0, containerID: before.status?.containerStatuses?.[0]?.containerID })

  await resize('4000')
  await expect
    .poll(async () => condition('PodResizePending'))
    .toMatchObject({
      status: 'True',
      reason: 'Infeasible',
      message: expect.stringMatching(
        /^Node didn't have enough capacity: cpu, requested: 4000000, capacity: \d+$/,
      ) as string,
    })
  expect(shares()).toBe(204)
  await resize('150m')
  await expect.poll(shares).toBe(153)
  await expect.poll(async () => condition('PodResizePending')).toBeUndefined()
  await admin.delete(pods, { name: 'sized', namespace })
})

it('a pod is resized as a whole, by its cgroup', async () => {
  const whole = (cpu: string) => ({ requests: { cpu }, limits: { memory: '128Mi' } })
  const created = await create('whole', { resources: whole('100m'), containers: [shell(stay)] })
  await watched(created, isReady)
  const uid = created.metadata?.uid ?? ''
  const shares = (): number => {
    const files = cgroupFolders(`${world.f.cgroup}/kubepods/burstable/pod${uid}`).map((one) => join(one, 'cpu.shares'))
    return Number(readFileSync(files.find(existsSync) ?? '', 'utf8'))
  }
  expect(shares()).toBe(102)
  const resized = strategicPatch({ spec: { resources: { requests: { cpu: '200m' } } } })
  await admin.patch(pods, { name: 'whole', namespace }, resized, { subresource: 'resize' })
  await expect.poll(shares).toBe(204)
  const status = async () => (await admin.get(pods, { name: 'whole', namespace })).status as Record<string, unknown>
  await expect.poll(async () => (await status())['resources']).toEqual(whole('200m'))
  expect((await status())['allocatedResources']).toEqual({ cpu: '200m' })
  await admin.delete(pods, { name: 'whole', namespace })
})

it('a device plugin of ours offers devices, and a pod gets one with what it needs', async () => {
  const folder = join(world.folder, 'root/device-plugins')
  const example = join(import.meta.dirname, '../../../examples/device-plugin/clocks.ts')
  const child = spawn(process.execPath, ['--conditions=@nodelet/source', example, folder], { stdio: 'ignore' })
  try {
    const clock = 'example.com/clock'
    const counted = async () => {
      const { status } = await admin.get(nodes, { name: 'node-1' })
      return [status?.capacity?.[clock], status?.allocatable?.[clock]]
    }
    await expect.poll(counted).toEqual(['2', '2'])
    const created = await create('clocked', {
      containers: [
        shell(`echo $CLOCKS; test -c /dev/clock && echo there; ${stay}`, { resources: { limits: { [clock]: '1' } } }),
      ],
    })
    const running = await watched(created, isReady)
    expect(running.status?.containerStatuses?.[0]).toMatchObject({
      allocatedResourcesStatus: [{ name: clock, resources: [{ resourceID: 'east', health: 'Healthy' }] }],
    })
    const log = async (): Promise<string> =>
      (await admin.raw({ path: `/api/v1/namespaces/${namespace}/pods/clocked/log` })).body.text()
    await expect.poll(log).toBe('east\nthere\n')
    child.kill()
    await expect.poll(counted).toEqual(['2', '0'])
    await admin.delete(pods, { name: 'clocked', namespace })
  } finally {
    child.kill()
  }
})

it('what it does is counted and timed under the names that dashboards know', async () => {
  const page = async (name: string) => {
    const { body } = await admin.raw({ path: `/api/v1/nodes/node-1/proxy/${name}` })
    return parseMetrics(await body.text())
  }
  const created = await create('measured', { restartPolicy: 'Never', containers: [shell('exit 7')] })
  await watched(created, ({ status }) => status?.phase === 'Failed')
  const created2 = await create('measured-too', { containers: [shell(stay)] })
  await watched(created2, isReady)
  const metrics = await page('metrics')
  for (const family of [
    'pod_start_duration_seconds',
    'pod_start_sli_duration_seconds',
    'pod_start_total_duration_seconds',
    'pod_worker_duration_seconds',
    'pod_worker_start_duration_seconds',
    'pod_status_sync_duration_seconds',
    'containers_per_pod_count',
    'cgroup_manager_duration_seconds',
    'pleg_relist_duration_seconds',
    'pleg_pod_relist_duration_seconds',
    'evented_pleg_connection_latency_seconds',
    'run_podsandbox_duration_seconds',
    'http_requests_duration_seconds',
    'pod_resize_duration_milliseconds',
    'device_plugin_alloc_duration_seconds',
  ]) {
    const counts = metrics.get(`kubelet_${family}`)?.samples.filter(({ name }) => name?.endsWith('_count'))
    expect([family, Math.max(0, ...(counts ?? []).map(({ value }) => value))]).not.toEqual([family, 0])
  }
  expect(metrics.get('storage_operation_duration_seconds')?.samples).toContainEqual(
    expect.objectContaining({
      labels: {
        volume_plugin: 'kubernetes.io/configmap',
        operation_name: 'volume_mount',
        status: 'success',
        migrated: 'false',
      },
    }),
  )
  expect(metrics.get('kubelet_terminated_containers_total')?.samples).toContainEqual({
    labels: { container_type: 'container', exit_code: '7', reason: 'Error' },
    value: 1,
  })
  expect(metrics.get('kubelet_http_requests_total')?.samples).toContainEqual(
    expect.objectContaining({
      labels: { method: 'GET', path: 'metrics', server_type: 'readwrite', long_running: 'false' },
    }),
  )
  const host = expect.stringMatching(/^[\d.]+:\d+$/)
  for (const [code, method] of [
    ['201', 'POST'],
    ['200', 'PATCH'],
  ]) {
    const labels = { code, host, method }
    expect(metrics.get('rest_client_requests_total')?.samples).toContainEqual(expect.objectContaining({ labels }))
  }
  expect(metrics.has('rest_client_request_duration_seconds')).toBe(true)
  const startup = (step: string) => metrics.get(`kubelet_node_startup_${step}duration_seconds`)?.samples[0]?.value
  expect(startup('registration_')).toBeGreaterThan(0)
  expect(startup('')).toBeGreaterThan(startup('pre_kubelet_') ?? Infinity)
  const health = (await page('metrics/slis')).get('kubernetes_healthcheck')?.samples
  expect(health).toContainEqual({ labels: { name: 'syncloop', type: 'healthz' }, value: 1 })
  for (const name of ['measured', 'measured-too']) await admin.delete(pods, { name, namespace })
})

it('who shows a token to the kubelet is known by the API server, and may what that says', async () => {
  const account = '/api/v1/namespaces/default/serviceaccounts/default/token'
  const body = JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} })
  const headers = { 'content-type': 'application/json' }
  const answer = await admin.raw({ method: 'POST', path: account, headers, body })
  const { token } = (JSON.parse(await answer.body.text()) as { status: { token: string } }).status
  const ask = async (bearer: string): Promise<[number | undefined, string]> => {
    const options = {
      host: '127.0.0.1',
      port: world.kubelet.port,
      path: '/metrics/resource',
      rejectUnauthorized: false,
    }
    const outgoing = request({ ...options, headers: { authorization: `Bearer ${bearer}` } }).end()
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    return [response.statusCode, (await response.setEncoding('utf8').toArray()).join('')]
  }
  expect(await ask('junk')).toEqual([401, 'Unauthorized'])
  expect(await ask(token)).toEqual([
    403,
    'Forbidden (user=system:serviceaccount:default:default, verb=get, resource=nodes, subresource(s)=[metrics])',
  ])
})

it('a Deployment runs its replicas', async () => {
  const labels = { app: 'many' }
  const template = { metadata: { labels }, spec: { terminationGracePeriodSeconds: 1, containers: [shell(stay)] } }
  const spec = { replicas: 3, selector: { matchLabels: labels }, template }
  await admin.create(deployments, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'many', namespace },
    spec,
  })
  const ready = async (): Promise<number> =>
    (await admin.get(deployments, { name: 'many', namespace })).status?.readyReplicas ?? 0
  await expect.poll(ready, { interval: 50 }).toBe(3)
})
