// A node that joins a cluster by a kubeconfig: its kubelet serves with certificates from files.
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

let machine: TestMachine
let plane: string
let run: string
let admin: string[]
beforeEach(async () => {
  machine = await makeMachine()
  plane = join(machine.folder, 'plane')
  run = `/run/nodelet-${machine.folder.slice(-6)}-p`
  admin = ['--kubeconfig', join(plane, 'cluster/admin.kubeconfig')]
  await machine.up('--root', plane, '--run', run, '--parts', 'cluster')
})
afterEach(async () => {
  await machine[Symbol.asyncDispose]()
  rmSync(run, { recursive: true, force: true })
})

/** Pods that say hello, once they are ready. */
async function startTalkers(names: readonly string[], more: object = {}): Promise<void> {
  const { makeDemoImage } = await import('../packages/node-agent/src/demo/image.ts')
  const layout = await makeDemoImage(join(machine.folder, 'image'), 'localhost/nodelet-demo:1')
  expect((await machine.nodelet('image', 'import', layout, ...machine.flags)).code).toBe(0)
  const command = ['/bin/sh', '-c', 'echo hello; mkdir /w; echo ok >/w/index.html; exec httpd -f -p 8080 -h /w']
  const items = names.map((name) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: 'localhost/nodelet-demo:1', command, ...more }],
    },
  }))
  await machine.kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), ...admin, 'apply', '-f', '-')
  const all = names.map((name) => `pod/${name}`)
  await machine.kubectl(...admin, 'wait', '--for=condition=Ready', ...all, '--timeout=50s')
}

/** The flags of a node that joins, whose server shows the control plane's certificates. */
function joining(): string[] {
  const pki = join(plane, 'cluster/pki')
  const kubeletConfig = join(machine.folder, 'kubelet.yaml')
  writeFileSync(
    kubeletConfig,
    `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
tlsCertFile: ${pki}/kubelet.pem
tlsPrivateKeyFile: ${pki}/kubelet.pem
authentication: { x509: { clientCAFile: ${pki}/ca.crt } }
`,
  )
  const files = ['--kubeconfig', join(plane, 'cluster/kubelet.kubeconfig'), '--kubelet-config', kubeletConfig]
  return ['--parts', 'runtime,kubelet', ...files, '--manifests', join(machine.folder, 'manifests')]
}

test('logs and exec of a pod on a node that joined', async () => {
  await machine.up(...joining())
  await startTalkers(['talker'])
  expect(await machine.kubectl(...admin, 'logs', 'talker')).toBe('hello\n')
  expect(await machine.kubectl(...admin, 'exec', 'talker', '--', 'echo', 'inside')).toBe('inside\n')
  await machine.kubectl(...admin, 'delete', 'pod', 'talker')
}, 120_000)

test('over a kill -9 of the agent and a new start, everything stays ready, as the cluster sees it', async () => {
  const agent = await machine.up(...joining())
  const httpGet = { path: '/', port: 8080 }
  const probe = { httpGet, periodSeconds: 1, timeoutSeconds: 5 }
  const names = Array.from({ length: 10 }, (_, index) => `probed-${index}`)
  await startTalkers(names, { readinessProbe: probe, livenessProbe: { tcpSocket: { port: 8080 } } })
  // Of younger containers it is not known that they were ready.
  await sleep(10_000)
  let seen = ''
  const ready = '{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
  const watches = ['pods', 'nodes'].map((kind) => {
    const watch = machine.spawn('kubectl', ...admin, 'get', kind, '--watch', '-o', `jsonpath=${ready}`)
    watch.stdout?.on('data', (chunk: Buffer) => (seen += chunk.toString()))
    return watch
  })
  await expect.poll(() => new Set(seen.match(/\S+(?= True$)/gm)).size).toBe(names.length + 1)
  agent.kill('SIGKILL')
  await once(agent, 'exit')
  await machine.up(...joining())
  // A status of the new agent's: by then each probe has run, too.
  await sleep(11_000)
  for (const watch of watches) watch.kill()
  expect(seen.match(/\S+ (?!True$)\S+$/gm)).toBeNull()
  await machine.kubectl(...admin, 'delete', 'pods', '--all')
}, 120_000)

test('a node joins by a bootstrap token, as kubeadm prepares it; what it serves with is approved by hand', async () => {
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'bootstrap-token-abcdef', namespace: 'kube-system' },
    type: 'bootstrap.kubernetes.io/token',
    stringData: {
      'token-id': 'abcdef',
      'token-secret': '0123456789abcdef',
      'usage-bootstrap-authentication': 'true',
    },
  }
  await machine.kubectlWith(JSON.stringify(secret), ...admin, 'apply', '-f', '-')
  const authority = join(plane, 'cluster/pki/ca.crt')
  const server = /server: (\S+)/.exec(readFileSync(admin[1] ?? '', 'utf8'))?.[1]
  const bootstrap = join(machine.folder, 'bootstrap-kubelet.conf')
  writeFileSync(
    bootstrap,
    `apiVersion: v1
kind: Config
clusters: [{ name: c, cluster: { server: '${server}', certificate-authority: ${authority} } }]
users: [{ name: u, user: { token: abcdef.0123456789abcdef } }]
contexts: [{ name: x, context: { cluster: c, user: u } }]
current-context: x
`,
  )
  const kubeletConfig = join(machine.folder, 'kubelet.yaml')
  writeFileSync(
    kubeletConfig,
    `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
rotateCertificates: true
serverTLSBootstrap: true
authentication: { x509: { clientCAFile: ${authority} } }
`,
  )
  const bootstrapping = [
    '--bootstrap-kubeconfig',
    bootstrap,
    '--kubeconfig',
    join(machine.folder, 'kubelet.conf'),
    '--kubelet-config',
    kubeletConfig,
  ]
  await machine.up('--parts', 'runtime,kubelet', ...bootstrapping, '--manifests', join(machine.folder, 'manifests'))
  const requests = async (): Promise<string[][]> =>
    (await machine.kubectl(...admin, 'get', 'csr', '--no-headers'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(/\s+/))
  const conditions = async (): Promise<string[]> => (await requests()).map((one) => String(one.at(-1))).toSorted()
  await expect.poll(conditions).toEqual(['Approved,Issued', 'Pending'])
  await startTalkers(['talker'])
  // Until somebody approves, the node shows what it signed itself: the API server does not believe that.
  await expect(machine.kubectl(...admin, 'logs', 'talker')).rejects.toThrow()
  const [name = ''] = (await requests()).find((one) => one.at(-1) === 'Pending') ?? []
  await machine.kubectl(...admin, 'certificate', 'approve', name)
  const logs = async (): Promise<string> =>
    machine.kubectl(...admin, 'logs', 'talker').catch((error: Error) => error.message)
  await expect.poll(logs).toBe('hello\n')
  await machine.kubectl(...admin, 'delete', 'pod', 'talker')
}, 120_000)
