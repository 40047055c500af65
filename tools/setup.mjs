// Prepares a fresh Debian machine, then runs what was asked: `node tools/setup.mjs [start|test] [args…]`.
// Uses only what Node 20 has built in, since it runs before anything is installed.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')

/** Debian package → a file that shows it is installed. */
const aptPackages = {
  runc: ['/usr/sbin/runc', '/usr/bin/runc', '/usr/local/sbin/runc'],
  conmon: ['/usr/bin/conmon'],
  iptables: ['/usr/sbin/iptables'],
  nftables: ['/usr/sbin/nft'],
  iproute2: ['/usr/sbin/ip', '/sbin/ip', '/usr/bin/ip'],
  ipset: ['/usr/sbin/ipset'],
  'kubernetes-client': ['/usr/bin/kubectl', '/usr/local/bin/kubectl'],
  kmod: ['/usr/sbin/modprobe', '/sbin/modprobe'],
  'busybox-static': ['/bin/busybox', '/usr/bin/busybox'],
  openssl: ['/usr/bin/openssl'],
  'ca-certificates': ['/usr/sbin/update-ca-certificates'],
}

/** What only the tests need. */
const testPackages = {
  conntrack: ['/usr/sbin/conntrack'],
  checkpolicy: ['/usr/bin/checkpolicy'],
  apparmor: ['/usr/sbin/apparmor_parser', '/sbin/apparmor_parser'],
  'containernetworking-plugins': ['/usr/lib/cni/bridge'],
  criu: ['/usr/sbin/criu'],
  'dbus-daemon': ['/usr/bin/dbus-daemon'],
  dmsetup: ['/usr/sbin/dmsetup', '/sbin/dmsetup'],
  'python3-dbus': ['/usr/lib/python3/dist-packages/dbus'],
  'python3-gi': ['/usr/lib/python3/dist-packages/gi'],
  crun: ['/usr/bin/crun'],
  'dnsmasq-base': ['/usr/sbin/dnsmasq'],
  'docker-registry': ['/usr/bin/docker-registry'],
  'user-mode-linux': ['/usr/bin/linux'],
  e2fsprogs: ['/usr/sbin/mkfs.ext4', '/sbin/mkfs.ext4'],
  'qemu-user': ['/usr/bin/qemu-aarch64'],
  python3: ['/usr/bin/python3', '/usr/local/bin/python3'],
  skopeo: ['/usr/bin/skopeo'],
  xfsprogs: ['/usr/sbin/mkfs.xfs', '/sbin/mkfs.xfs'],
}

/** What only the tests need, and what would start a service where it is installed: it is unpacked beside them. */
const unpackedPackages = {
  containerd: '/usr/bin/containerd',
  firewalld: '/usr/sbin/firewalld',
  libisns0: '/usr/lib/x86_64-linux-gnu/libisns.so.0',
  libopeniscsiusr: '/usr/lib/x86_64-linux-gnu/libopeniscsiusr.so.0.2.0',
  'nfs-common': '/sbin/mount.nfs',
  'open-iscsi': '/sbin/iscsiadm',
  'python3-firewall': '/usr/lib/python3/dist-packages/firewall',
  'python3-nftables': '/usr/lib/python3/dist-packages/nftables',
}

class SetupError extends Error {}

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`

/** Runs one program; its output is shown only when it fails. */
function run(program, args, { remedy, env = {}, cwd = root }) {
  const done = spawnSync(program, args, { cwd, encoding: 'utf8', env: { ...process.env, ...env } })
  if (done.status === 0) return
  const output = done.error
    ? done.error.message
    : `${done.stdout}${done.stderr}`.trim().split('\n').slice(-15).join('\n')
  throw new SetupError(`${program} ${args.join(' ')} failed (exit ${done.status}):\n${output}\n→ ${remedy}`)
}

function step(title, work) {
  const since = performance.now()
  process.stdout.write(`• ${title} … `)
  const note = work()
  console.log(`${note ?? 'done'} (${seconds(since)})`)
}

function checkMachine() {
  if (process.platform !== 'linux')
    throw new SetupError(`nodelet runs on Linux; this is ${process.platform}. → Use a Debian 12 machine.`)
  const major = Number(process.versions.node.split('.')[0])
  if (major < 20) throw new SetupError(`Node ${process.version} is too old. → Install Node 20 or newer.`)
  if (process.getuid() !== 0)
    throw new SetupError('installing Debian packages needs root, and so will the node. → Run it again with sudo.')
}

function installDebianPackages(wanted) {
  const missing = Object.entries(wanted)
    .filter(([, files]) => !files.some(existsSync))
    .map(([name]) => name)
  if (missing.length === 0) return 'nothing missing'
  if (!existsSync('/usr/bin/apt-get')) {
    throw new SetupError(
      `missing: ${missing.join(', ')}, and apt-get is not here. → This is not a Debian-like machine: install them with its own package manager.`,
    )
  }
  const remedy = `Check that the Debian registry in /etc/apt/sources.list answers, then run: apt-get install ${missing.join(' ')}`
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  run('apt-get', ['update', '-qq'], { remedy, env })
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { remedy, env })
  return `installed ${missing.join(', ')}`
}

function unpackDebianPackages(wanted) {
  const folderOf = (name) => join(root, '.nodelet/debian', name)
  const missing = Object.entries(wanted)
    .filter(([name, file]) => !existsSync(file) && !existsSync(join(folderOf(name), file)))
    .map(([name]) => name)
  if (missing.length === 0) return 'nothing missing'
  const remedy = 'Check that the Debian registry in /etc/apt/sources.list answers.'
  run('apt-get', ['update', '-qq'], { remedy })
  for (const name of missing) {
    const folder = folderOf(name)
    mkdirSync(folder, { recursive: true })
    run('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', name], { remedy, cwd: folder })
    const [archive] = readdirSync(folder).filter((file) => file.endsWith('.deb'))
    run('dpkg-deb', ['--extract', archive, '.'], { remedy, cwd: folder })
    rmSync(join(folder, archive))
  }
  return `unpacked ${missing.join(', ')}`
}

const hashOf = (parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex')
const stampFile = (name) => join(root, 'node_modules/.nodelet', name)
const isStamped = (name, value) => existsSync(stampFile(name)) && readFileSync(stampFile(name), 'utf8') === value

function stamp(name, value) {
  mkdirSync(dirname(stampFile(name)), { recursive: true })
  writeFileSync(stampFile(name), value)
}

function installNpmPackages() {
  const lock = hashOf([readFileSync(join(root, 'package-lock.json'))])
  if (isStamped('npm', lock)) return 'nothing missing'
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    remedy: 'Check that the npm registry answers (npm ping) and that package.json agrees with package-lock.json.',
  })
  stamp('npm', lock)
}

function sourceFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? sourceFiles(path) : [path]
  })
}

function build() {
  const packages = readdirSync(join(root, 'packages'))
    .map((name) => join(root, 'packages', name))
    .filter((folder) => existsSync(join(folder, 'package.json')))
  const files = packages.flatMap((folder) => [join(folder, 'package.json'), ...sourceFiles(join(folder, 'src'))]).sort()
  const state = hashOf(files.map((file) => `${file}:${statSync(file).mtimeMs}:${statSync(file).size}\n`))
  if (isStamped('build', state) && packages.every((folder) => existsSync(join(folder, 'dist')))) return 'up to date'
  run('npm', ['run', '--silent', 'build'], { remedy: 'Run npm run build to see the whole output.' })
  stamp('build', state)
}

/** Runs a program under the Node pinned in package.json, passing signals on, and ends with its status. */
function become(program, args) {
  const env = { ...process.env, PATH: [join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter) }
  const child = spawn(join(root, 'node_modules/.bin', program), args, { cwd: root, env, stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)))
}

const [command, ...args] = process.argv.slice(2)
try {
  checkMachine()
  const since = performance.now()
  step('Debian packages', () =>
    installDebianPackages(command === 'start' ? aptPackages : { ...aptPackages, ...testPackages }),
  )
  if (command === 'test') step('Debian packages for tests', () => unpackDebianPackages(unpackedPackages))
  step('npm packages', installNpmPackages)
  step('build', build)
  console.log(`✓ ready in ${seconds(since)}\n`)
  if (command === 'start') become('node', [join(root, 'packages/node-agent/dist/cli.js'), 'demo', ...args])
  if (command === 'test') become('vitest', ['run', ...args])
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(`\n✗ ${error.message}`)
  process.exit(1)
}
