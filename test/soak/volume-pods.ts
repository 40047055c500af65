// Pods that look at all that they are shown, and write down what is not as it should be.
import type { Container, Volume } from 'kubernetes-types/core/v1.d.ts'

export const image = 'localhost/nodelet-demo:1'

export interface Claim {
  name: string
  kind: 'folder' | 'ext4' | 'block'
}

// Each volume of the pod alone says whose it is; what a container found there before it was restarted is there after.
const ofPod = `
bad() { echo "$POD $UID_ $*" >> /verdicts/wrong; }
own='scratch memory inline'
for v in $own; do
  if [ -e /$v/uid ]; then [ "$(cat /$v/uid)" = $UID_ ] || bad "$v is of $(cat /$v/uid)"
  elif [ -e /verdicts/started-$UID_ ]; then bad "$v lost its file"
  else echo $UID_ > /$v/uid; fi
done
echo >> /verdicts/started-$UID_
pod() {
  for v in $own; do [ "$(cat /$v/uid 2>&1)" = $UID_ ] || bad "$v: $(cat /$v/uid 2>&1)"; done
  [ "$(cat /all/uid 2>&1)" = $UID_ ] || bad "downward: $(cat /all/uid 2>&1)"
  [ -s /all/token ] || bad 'no token'
  for c in config all; do
    d=$(readlink /$c/..data)
    a=$(cat /$c/$d/a 2>/dev/null) && b=$(cat /$c/$d/b 2>/dev/null) && { [ "$a" = "$b" ] || bad "half: $a $b"; }
    [ -s /$c/a ] && [ -s /$c/b ] || bad "no $c"
  done
  [ -s /one ] || bad 'no file of a sub path'
}`

// What was told to be written is there, whichever pod wrote it.
const ofFolder = `
[ -e /data/claim ] || { echo $CLAIM > /data/claim.$UID_ && mv /data/claim.$UID_ /data/claim; }
[ -e /sub/claim ] || { echo $CLAIM > /sub/claim.$UID_ && mv /sub/claim.$UID_ /sub/claim; }
echo $UID_ >> /data/starts
echo $UID_ >> /sub/starts
echo $UID_ >> /verdicts/starts-$CLAIM
claim() {
  for f in /data/claim /sub/claim /data/sub/claim; do [ "$(cat $f 2>&1)" = $CLAIM ] || bad "$f: $(cat $f 2>&1)"; done
  cat /verdicts/starts-$CLAIM > /tmp/starts
  for f in /data/starts /sub/starts; do grep -vxFf $f /tmp/starts > /tmp/lost && bad "$f lost $(cat /tmp/lost)"; done
  echo > /data/written || bad 'data cannot be written'
}`

const ofBlock = `
mark() { dd if=/dev/raw bs=64 count=1 2>/dev/null | tr -d '\\0'; }
[ "$(mark)" = '' ] && { [ -e /verdicts/starts-$CLAIM ] && bad 'the mark is lost'; { printf %s $CLAIM; head -c 64 /dev/zero; } | dd of=/dev/raw bs=64 count=1 iflag=fullblock conv=fsync,notrunc 2>/dev/null; }
echo $UID_ >> /verdicts/starts-$CLAIM
claim() { [ "$(mark)" = $CLAIM ] || bad "the mark is $(mark)"; }`

const loop = `
trap exit TERM
pod; claim
echo > /tmp/ready
while :; do sleep 1 & wait $!; pod; claim; done`

export const containerOf = (pod: string, { name, kind }: Claim): Container => ({
  name: 'main',
  image,
  imagePullPolicy: 'IfNotPresent',
  command: ['/bin/sh', '-c', `${ofPod}${kind === 'block' ? ofBlock : ofFolder}${loop}`],
  readinessProbe: { exec: { command: ['test', '-e', '/tmp/ready'] }, periodSeconds: 1 },
  env: [
    { name: 'POD', value: pod },
    { name: 'CLAIM', value: name },
    { name: 'UID_', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } },
  ],
  volumeMounts: [
    ...['scratch', 'memory', 'inline', 'config', 'all', 'verdicts'].map((volume) => ({
      name: volume,
      mountPath: `/${volume}`,
    })),
    { name: 'config', mountPath: '/one', subPath: 'a' },
    ...(kind === 'block'
      ? []
      : [
          { name: 'claim', mountPath: '/data' },
          { name: 'claim', mountPath: '/sub', subPath: 'sub' },
        ]),
  ],
  ...(kind === 'block' && { volumeDevices: [{ name: 'claim', devicePath: '/dev/raw' }] }),
})

/** @param verdicts folder of the machine that pods write what they saw to */
export const volumesOf = ({ name }: Claim, verdicts: string): Volume[] => [
  { name: 'scratch', emptyDir: {} },
  { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
  { name: 'inline', csi: { driver: 'tmpfs.csi.example.com', volumeAttributes: { size: '64k' } } },
  { name: 'config', configMap: { name: 'config' } },
  {
    name: 'all',
    projected: {
      sources: [
        { serviceAccountToken: { path: 'token' } },
        { configMap: { name: 'config' } },
        { downwardAPI: { items: [{ path: 'uid', fieldRef: { fieldPath: 'metadata.uid' } }] } },
      ],
    },
  },
  { name: 'verdicts', hostPath: { path: verdicts } },
  { name: 'claim', persistentVolumeClaim: { claimName: name } },
]
