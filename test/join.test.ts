// A node that joins a cluster by a kubeconfig: its kubelet serves with certificates from files.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
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

/** A pod that says hello, once it is ready. */
async function startTalker(): Promise<void> {
  const { makeDemoImage } = await import('../packages/node-agent/src/demo/image.ts')
  const layout = await makeDemoImage(join(machine.folder, 'image'), 'localhost/nodelet-demo:1')
  expect((await machine.nodelet('image', 'import', layout, ...machine.flags)).code).toBe(0)
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'talker' },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        { name: 'main', image: 'localhost/nodelet-demo:1', command: ['/bin/sh', '-c', 'echo hello; sleep 600'] },
      ],
    },
  }
  await machine.kubectlWith(JSON.stringify(pod), ...admin, 'apply', '-f', '-')
  await machine.kubectl(...admin, 'wait', '--for=condition=Ready', 'pod/talker', '--timeout=50s')
}

test('logs and exec of a pod on a node that joined', async () => {
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
  const kubeconfig = join(plane, 'cluster/kubelet.kubeconfig')
  const joining = ['--kubeconfig', kubeconfig, '--kubelet-config', kubeletConfig]
  await machine.up('--parts', 'runtime,kubelet', ...joining, '--manifests', join(machine.folder, 'manifests'))
  await startTalker()
  expect(await machine.kubectl(...admin, 'logs', 'talker')).toBe('hello\n')
  expect(await machine.kubectl(...admin, 'exec', 'talker', '--', 'echo', 'inside')).toBe('inside\n')
  await machine.kubectl(...admin, 'delete', 'pod', 'talker')
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
  const joining = [
    '--bootstrap-kubeconfig',
    bootstrap,
    '--kubeconfig',
    join(machine.folder, 'kubelet.conf'),
    '--kubelet-config',
    kubeletConfig,
  ]
  await machine.up('--parts', 'runtime,kubelet', ...joining, '--manifests', join(machine.folder, 'manifests'))
  const requests = async (): Promise<string[][]> =>
    (await machine.kubectl(...admin, 'get', 'csr', '--no-headers'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(/\s+/))
  const conditions = async (): Promise<string[]> => (await requests()).map((one) => String(one.at(-1))).toSorted()
  await expect.poll(conditions, { timeout: 20_000 }).toEqual(['Approved,Issued', 'Pending'])
  await startTalker()
  // Until somebody approves, the node shows what it signed itself: the API server does not believe that.
  await expect(machine.kubectl(...admin, 'logs', 'talker')).rejects.toThrow()
  const [name = ''] = (await requests()).find((one) => one.at(-1) === 'Pending') ?? []
  await machine.kubectl(...admin, 'certificate', 'approve', name)
  const logs = async (): Promise<string> =>
    machine.kubectl(...admin, 'logs', 'talker').catch((error: Error) => error.message)
  await expect.poll(logs, { timeout: 20_000 }).toBe('hello\n')
  await machine.kubectl(...admin, 'delete', 'pod', 'talker')
}, 120_000)
