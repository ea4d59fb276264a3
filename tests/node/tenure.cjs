// A client of Tenure in Node, without generated code: the protos are read when it starts.
'use strict';

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

// Numbers of 64 bits come as strings and enums by their names, so that nothing is lost or guessed.
const definition = loader.loadSync(
  ['tenure/v1/job_service.proto', 'tenure/v1/worker_service.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto'],
  { includeDirs: ['protos', 'third_party/protos'], longs: String, enums: String, defaults: true, oneofs: true },
);
const { tenure } = grpc.loadPackageDefinition(definition);

// What every call carries.
function bearer(token) {
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

// One unary call as a promise.
function call(client, method, request, metadata) {
  const deadline = new Date(Date.now() + 30_000);
  return new Promise((resolve, reject) => {
    client[method](request, metadata, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// Why a call was refused: the ErrorInfo in the details of its status.
function refusal(error) {
  const protobuf = require(require.resolve('protobufjs', { paths: [require.resolve('@grpc/proto-loader')] }));
  const root = new protobuf.Root();
  root.resolvePath = (_, path) => (path.startsWith('google/rpc/') ? `third_party/protos/${path}` : path);
  root.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto']);
  const [raw] = error.metadata.get('grpc-status-details-bin');
  const status = root.lookupType('google.rpc.Status').decode(raw);
  const info = status.details.find((detail) => detail.type_url.endsWith('/google.rpc.ErrorInfo'));
  const { reason, domain } = root.lookupType('google.rpc.ErrorInfo').decode(info.value);
  return { code: grpc.status[error.code], message: status.message, reason, domain };
}

module.exports = { bearer, call, grpc, refusal, tenure };
