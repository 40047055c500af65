// The demo's objects: a web app of two replicas behind a Service, its page from a ConfigMap.
import type { Deployment } from 'kubernetes-types/apps/v1.d.ts'
import type { ConfigMap, Service } from 'kubernetes-types/core/v1.d.ts'

export const demoName = 'hello'
export const demoNamespace = 'default'
export const demoImage = 'localhost/nodelet-demo:1'

const labels = { app: demoName }
const metadata = { name: demoName, namespace: demoNamespace, labels }

export const demoConfigMap: ConfigMap = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata,
  data: { 'index.html': '<h1>Hello from nodelet</h1>\n' },
}

export const demoService: Service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata,
  spec: { selector: labels, ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' }] },
}

export const demoDeployment: Deployment = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata,
  spec: {
    replicas: 2,
    selector: { matchLabels: labels },
    template: {
      metadata: { labels },
      spec: {
        terminationGracePeriodSeconds: 2,
        containers: [
          {
            name: 'web',
            image: demoImage,
            imagePullPolicy: 'IfNotPresent',
            ports: [{ name: 'http', containerPort: 8080 }],
            resources: { requests: { cpu: '50m', memory: '16Mi' }, limits: { cpu: '500m', memory: '64Mi' } },
            readinessProbe: { httpGet: { path: '/pages/index.html', port: 'http' }, periodSeconds: 1 },
            livenessProbe: { httpGet: { path: '/pages/index.html', port: 'http' }, periodSeconds: 10 },
            volumeMounts: [{ name: 'pages', mountPath: '/www/pages' }],
          },
        ],
        volumes: [{ name: 'pages', configMap: { name: demoName } }],
      },
    },
  },
}
